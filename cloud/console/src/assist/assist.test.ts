import { describe, expect, it } from "vitest";
import { maxMessage, read, type Ask } from "./messages";
import { empty, keep, record } from "./record";

const step = { name: "gateway.ping", status: "ok", took_ms: 3 };
const result = { request: { kind: "connection" }, steps: [step], verdict: { segment: "none", code: "all.well" } };
const ask: Ask = { id: "1", do: "diagnose", request: { kind: "connection" } };

describe("a message of the device", () => {
  it.each([
    ["a step", { id: "1", step }, { type: "step", id: "1", step }],
    ["a result", { id: "1", result }, { type: "result", id: "1", result }],
    ["a result without steps, as Go writes it", { id: "1", result: { ...result, steps: null } }, { type: "result", id: "1", result: { ...result, steps: [] } }],
    ["an error", { id: "1", error: "another diagnosis is running" }, { type: "failed", id: "1", reason: "another diagnosis is running" }],
    ["an end", { bye: "consent" }, { type: "bye", reason: "consent" }],
    ["metrics", { metrics: { at: 5, values: [{ name: "m", value: 1 }] } }, { type: "metrics", at: 5, values: [{ name: "m", value: 1 }] }],
    ["metrics with one that is none", { metrics: { at: 5, values: [{ name: "m", value: "1" }, { name: "n", instance: "i", value: 2 }] } }, { type: "metrics", at: 5, values: [{ name: "n", instance: "i", value: 2 }] }],
  ])("that is %s is read", (_, message, want) => {
    expect(read(JSON.stringify(message))).toEqual(want);
  });

  it.each([
    ["not JSON", "{"],
    ["no object", "[1]"],
    ["null", "null"],
    ["not text", new ArrayBuffer(8)],
    ["too long", JSON.stringify({ bye: "x".repeat(maxMessage) })],
    ["a step without a name", JSON.stringify({ id: "1", step: { status: "ok", took_ms: 1 } })],
    ["a step for nobody", JSON.stringify({ step })],
    ["metrics without a time", JSON.stringify({ metrics: { values: [] } })],
    ["of a kind unknown here", JSON.stringify({ id: "1", video: {} })],
  ])("that is %s is dropped", (_, message) => {
    expect(read(message)).toBeUndefined();
  });
});

describe("the record of a session", () => {
  it("gathers the steps of a diagnosis and lets its result have the last word", () => {
    let state = record(empty, { type: "asked", ask });
    state = record(state, { type: "step", id: "1", step });
    expect(state.runs).toEqual([{ id: "1", kind: "connection", steps: [step] }]);
    state = record(state, { type: "result", id: "1", result: { ...result, steps: [step, step] } });
    expect(state.runs[0]!.steps).toHaveLength(2);
    expect(state.runs[0]!.result?.verdict.code).toBe("all.well");
  });
  it("keeps the newest question on top and ignores answers to none", () => {
    let state = record(empty, { type: "asked", ask });
    state = record(state, { type: "asked", ask: { ...ask, id: "2", request: { kind: "dns" } } });
    state = record(state, { type: "step", id: "9", step });
    expect(state.runs.map((r) => [r.kind, r.steps.length])).toEqual([["dns", 0], ["connection", 0]]);
  });
  it("keeps a bounded stretch of each metric and tells instances apart", () => {
    let state = empty;
    for (let i = 0; i < keep + 20; i++) state = record(state, { type: "metrics", at: i, values: [{ name: "m", value: i }, { name: "m", instance: "eth0", value: -i }] });
    expect([...state.metrics.keys()]).toEqual(["m{}", "m{eth0}"]);
    const live = state.metrics.get("m{}")!;
    expect([live.at.length, live.value.length, live.at[0], live.value.at(-1)]).toEqual([keep, keep, 20, keep + 19]);
  });
  it("never changes a state that a page still shows", () => {
    const before = record(empty, { type: "asked", ask });
    const copy = structuredClone(before.runs);
    record(before, { type: "step", id: "1", step });
    expect(before.runs).toEqual(copy);
    expect(empty.runs).toEqual([]);
  });
});
