import { describe, expect, it } from "vitest";
import { Said } from "./When";

const shown = (text: string) => Said({ text }).map((part) => (typeof part === "string" ? part : part.props));

describe("Said", () => {
  it("shows a moment as one", () => {
    expect(shown("away since 2026-03-01T02:05:09Z.")).toEqual(["away since ", { at: "2026-03-01T02:05:09Z", show: "clock" }, "."]);
  });
  it("leaves what only looks like a moment as it is", () => {
    expect(shown("they said 2026-13-01T00:00:00Z").join("")).toBe("they said 2026-13-01T00:00:00Z");
  });
});
