import { expect, it } from "vitest";
import { joining } from "./mutations";

it("what is asked twice while it runs is written once, and again afterwards", async () => {
  const join = joining<number>();
  let writes = 0;
  const write = async () => ++writes;
  expect(await Promise.all([join(write), join(write)])).toEqual([1, 1]);
  expect(await join(write)).toBe(2);
});

it("a write that failed does not keep the next from being tried", async () => {
  const join = joining<number>();
  await expect(join(() => Promise.reject(new Error("no")))).rejects.toThrow("no");
  expect(await join(async () => 1)).toBe(1);
});
