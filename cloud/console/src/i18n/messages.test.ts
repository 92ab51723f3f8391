import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { deviceWords } from "./device-words";
import en, { type Messages } from "./en";
import { fill } from "./fill";
import { match } from "./languages";
import zhCN from "./zh-CN";
import zhTW from "./zh-TW";

const tables: Record<string, Messages> = { en, "zh-CN": zhCN, "zh-TW": zhTW };
const places = (text: string) => [...new Set(text.match(/\{\w+\}/g))].sort();

describe("messages", () => {
  it.each(["zh-CN", "zh-TW"])("%s has the same arguments as English in every message", (lang) => {
    for (const [key, text] of Object.entries(en)) {
      expect(places(tables[lang]![key as keyof Messages]), key).toEqual(places(text));
    }
  });

  it("are Chinese in the Chinese tables, and traditional where they should be", () => {
    for (const table of [zhCN, zhTW]) {
      for (const [key, text] of Object.entries(table)) expect(/[\u4e00-\u9fff]/.test(text) || text === "{cohort}", key).toBe(true);
    }
    for (const [key, text] of Object.entries(zhTW)) expect(text, key).not.toMatch(/[这们设备试网络连从将应关开问无运营历线图标现总区]/);
  });

  it("are all used (that those used exist is checked by the compiler)", () => {
    const files = readdirSync("src", { recursive: true, encoding: "utf8" });
    const code = files.filter((f) => /\.tsx?$/.test(f) && !f.startsWith("i18n/") && !f.includes(".test.")).map((f) => readFileSync(`src/${f}`, "utf8")).join("\n");
    const written = new Set([...code.matchAll(/"([a-z]+(?:\.[a-z]+)+)"/g)].map((m) => m[1]!));
    const stems = [...code.matchAll(/`([a-z]+(?:\.[a-z]+)*\.)\$\{/g)].map((m) => m[1]!);
    const unused = Object.keys(en).filter((key) => !written.has(key) && !stems.some((stem) => key.startsWith(stem)));
    expect(unused).toEqual([]);
  });

  it("for devices exist in all three languages", () => {
    const keys = Object.keys(deviceWords("en"));
    for (const lang of ["en", "zh-CN", "zh-TW"] as const) {
      const words = deviceWords(lang);
      expect(Object.keys(words)).toEqual(keys);
      for (const [key, text] of Object.entries(words)) expect(text, key).not.toBe("");
    }
  });
});

describe("fill", () => {
  it.each([
    ["{n} hour | {n} hours", { n: 1 }, "en", "1 hour"],
    ["{n} hour | {n} hours", { n: 4 }, "en", "4 hours"],
    ["{n} 小时", { n: 1 }, "zh-CN", "1 小时"],
    ["{n} rows", { n: 12345 }, "en", "12,345 rows"],
    ["Account of {name}", { name: "{n}" }, "en", "Account of {n}"],
    ["Account of {name}", {}, "en", "Account of {name}"],
    ["a | b", undefined, "en", "a"],
  ])("%s with %o in %s is %s", (message, args, lang, want) => {
    expect(fill(message, args, lang)).toBe(want);
  });
});

describe("match", () => {
  it.each([
    [["de", "zh-Hant-HK", "en"], "zh-TW"],
    [["zh-TW"], "zh-TW"],
    [["zh-Hans-TW"], "zh-CN"],
    [["zh"], "zh-CN"],
    [["fr-FR", "en-GB"], "en"],
    [["fr"], "en"],
    [[], "en"],
  ])("%o is read as %s", (tags, want) => {
    expect(match(tags)).toBe(want);
  });
});
