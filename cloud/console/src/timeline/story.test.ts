import { describe, expect, it } from "vitest";
import type { Entry, Ticket } from "../api/types";
import { fold, type Stretch } from "./calm";
import { causes, episode } from "./chain";
import { newestHead, opening, tell } from "./story";

const start = Date.parse("2026-03-01T12:00:00Z");

function entry(id: string, kind: string, second: number, because: string[] = [], more: Partial<Entry> = {}): Entry {
  const at = new Date(start + second * 1000).toISOString();
  return { id, kind, at, recorded: at, home: "h", subjects: [], actor: { type: "device", id: "d" }, actor_name: "", because, summary: id, ...more };
}

const ids = (entries: Entry[]) => entries.map((e) => e.id).join(" ");
const diagnosed = (segment: string) => ({ diagnosis: { request: { kind: "connection" }, steps: [], verdict: { segment, code: "uplink.loss" } } });

// Newest first, as the service answers: a fault that a fix did not solve, and an older one beside it.
const day = [
  entry("told", "customer.told", 60, ["ticket"]),
  entry("ticket", "ticket.opened", 50, ["undone", "diagnosis"], { subjects: [{ type: "ticket", id: "t1" }] }),
  entry("diagnosis", "diagnosis.done", 45, ["risk"], diagnosed("isp")),
  entry("undone", "fix.rolled_back", 40, ["applied"], { args: { command: "k2" } }),
  entry("applied", "fix.applied", 30, ["chosen"], { args: { command: "k2" } }),
  entry("chosen", "fix.chosen", 20, ["risk"], { args: { command: "k2" } }),
  entry("risk", "risk.raised", 10, ["symptom"]),
  entry("symptom", "symptom.seen", 0),
  entry("old-verified", "fix.verified", -100, ["old-symptom"], { args: { command: "k1" } }),
  entry("old-symptom", "symptom.seen", -200),
];

describe("causes", () => {
  it("walks back to the first sign, in the order in which things happened", () => {
    expect(ids(causes(day, "ticket"))).toBe("symptom risk chosen applied undone diagnosis ticket");
  });
  it("puts a cause before its effect when both bear the same time", () => {
    expect(ids(causes([entry("b", "x", 0, ["a"]), entry("a", "x", 0)], "b"))).toBe("a b");
  });
  it("leaves out causes that are not loaded and ends in a cycle", () => {
    expect(ids(causes([entry("a", "x", 1, ["b", "gone"]), entry("b", "x", 0, ["a"])], "a"))).toBe("b a");
  });
  it("of an unknown entry are none", () => {
    expect(causes(day, "nobody")).toEqual([]);
  });
});

describe("episode", () => {
  it("holds what came of the causes too, and nothing of another matter", () => {
    expect(ids(episode(day, "risk"))).toBe("symptom risk chosen applied undone diagnosis ticket told");
  });
});

describe("tell", () => {
  it("answers since when, why, what was tried, and whether the customer knows", () => {
    const story = tell(day, day[1]!);
    expect(story.root.id).toBe("symptom");
    expect(story.since).toBe(day[7]!.at);
    expect(story.why?.id).toBe("diagnosis");
    expect(story.segment).toBe("isp");
    expect(story.tried.map((a) => [a.entry.id, a.outcome])).toEqual([["undone", "undone"]]);
    expect(story.told?.id).toBe("told");
  });
  it("takes the newest word on each fix for its outcome", () => {
    const running = day.filter((e) => !["undone", "ticket", "told", "diagnosis"].includes(e.id));
    expect(tell(running, running[0]!).tried.map((a) => [a.entry.id, a.outcome])).toEqual([["applied", "running"]]);
  });
  it("does not take a command that only looks for a fix", () => {
    const asked = [entry("sent", "command.sent", 21, ["risk"], { args: { command: "k3", plan: "diagnose" } }), ...day];
    expect(tell(asked, day[1]!).tried.map((a) => a.key)).toEqual(["k2"]);
  });
  it("falls back on the prediction when there is no diagnosis, and blames nobody when all was well", () => {
    const calm = day.map((e) => (e.id === "diagnosis" ? { ...e, ...diagnosed("none") } : e));
    const story = tell(calm, calm[1]!);
    expect(story.segment).toBeUndefined();
  });
  it("begins at the entry itself when nothing else is known", () => {
    expect(tell([day[7]!], day[7]!).root.id).toBe("symptom");
  });
});

describe("the entry to tell about", () => {
  it("is the one that opened the ticket", () => {
    expect(opening(day, { id: "t1" } as Ticket)?.id).toBe("ticket");
    expect(opening(day, { id: "t2" } as Ticket)).toBeUndefined();
  });
  it("is the newest that means something when there is no ticket", () => {
    expect(newestHead(day)?.id).toBe("ticket");
    expect(newestHead([day[0]!])).toBeUndefined();
    expect(newestHead([entry("near", "symptom.seen", 300), ...day])?.id).toBe("ticket");
    expect(newestHead([entry("far", "symptom.seen", 3600), ...day])?.id).toBe("far");
    expect(newestHead([day[7]!])?.id).toBe("symptom");
  });
});

describe("fold", () => {
  const shape = (stretches: Stretch[]) => stretches.map((s) => ("entry" in s ? s.entry.id : `(${ids(s.folded)})`)).join(" ");
  const flicker = ["a", "b", "c", "d"].map((id, i) => entry(id, i % 2 ? "symptom.cleared" : "symptom.seen", i));
  it("makes one line of minor entries in a row and leaves the others where they are", () => {
    expect(shape(fold([day[1]!, ...flicker, day[3]!], new Set()))).toBe("ticket (a b c d) undone");
  });
  it("leaves two alone", () => {
    expect(shape(fold(flicker.slice(0, 2), new Set()))).toBe("a b");
  });
  it("keeps what is being explained in sight", () => {
    expect(shape(fold([...flicker, entry("e", "symptom.seen", 9)], new Set(["b"])))).toBe("a b (c d e)");
  });
});
