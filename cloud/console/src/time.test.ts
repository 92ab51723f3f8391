import { describe, expect, it } from "vitest";
import { absolute, relative, span } from "./time";
import { reading } from "./units";

const now = Date.parse("2026-03-01T12:00:00Z");

describe("relative", () => {
  it.each([
    [-3_000, "en", "3 sec. ago"],
    [-89_000, "en", "1 min. ago"],
    [-7_199_000, "en", "1 hr. ago"],
    [-26 * 3_600_000, "en", "yesterday"],
    [2 * 3_600_000, "en", "in 2 hr."],
    [-89_000, "zh-CN", "1分钟前"],
    [0, "en", "now"],
  ])("%d ms in %s is %s", (gap, lang, want) => {
    expect(relative(now + gap, now, lang)).toBe(want);
  });
});

describe("absolute", () => {
  const at = Date.parse("2026-03-01T00:05:09Z");
  it.each([
    ["leaves out the day when it is today there", { zone: "UTC" }, "00:05"],
    ["names the day where it is still yesterday", { zone: "America/New_York" }, "Feb 28, 19:05"],
    ["names the day when asked", { zone: "UTC", day: true }, "Mar 1, 00:05"],
    ["shows seconds when asked", { zone: "UTC", seconds: true }, "00:05:09"],
    ["takes an empty zone for the browser's", { zone: "" }, absolute(at, now, "en")],
  ])("%s", (_, options, want) => {
    expect(absolute(at, now, "en", options)).toBe(want);
  });
  it("names the year when it is another", () => {
    expect(absolute(Date.parse("2024-02-03T04:05:00Z"), now, "en", { zone: "UTC" })).toBe("Feb 3, 2024, 04:05");
  });
});

describe("span", () => {
  it.each([[400, "400ms"], [1_240, "1.2s"], [12_300, "12s"], [180_000, "3m"], [7_200_000, "2h"], [3 * 86_400_000, "3d"]])("%d ms is %s", (ms, want) => {
    expect(span(ms, "en")).toBe(want);
  });
});

describe("reading", () => {
  it.each([
    ["wan.loss_ratio", 0.283, "28%"],
    ["wan.loss_ratio", 0.004, "0.4%"],
    ["wan.loss_ratio", 0, "0%"],
    ["dns.latency_ms", 14.26, "14.3 ms"],
    ["gateway.rtt_ms", 0.612, "0.61 ms"],
    ["wifi.rssi_dbm", -67, "-67 dBm"],
    ["mem.available_bytes", 12_500_000, "12.5 MB"],
    ["disk.free_bytes", 0, "0 B"],
    ["iface.carrier", 0, "✗"],
    ["dhcp.lease_age_s", 4100, "4,100 s"],
    ["custom.thing", 3, "3"],
    ["custom.thing", null, "–"],
    ["custom.thing", NaN, "–"],
  ])("%s of %s is %s", (metric, value, want) => {
    expect(reading(metric, value, "en")).toBe(want);
  });
});
