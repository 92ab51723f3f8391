import { segment, type Entry, type Segment, type Ticket } from "../api/types";
import { causes, episode } from "./chain";

/** One matter told in the order in which a person asks: what, since when, why, what was tried. */
export interface Story {
  head: Entry; // the entry that the matter ends in so far
  since: string;
  root: Entry; // the first entry that showed it
  why?: Entry; // the newest diagnosis or prediction behind it
  segment?: Segment;
  tried: Attempt[];
  told?: Entry; // the newest word to the customer
}

export interface Attempt {
  key: string;
  entry: Entry;
  outcome: "running" | "worked" | "undone" | "failed";
}

const outcomes: Record<string, Attempt["outcome"]> = {
  "fix.chosen": "running",
  "command.sent": "running",
  "fix.applied": "running",
  "fix.verified": "worked",
  "fix.rolled_back": "undone",
  "fix.failed": "failed",
  "command.refused": "failed",
  "command.expired": "failed",
};

const heads = new Set([
  "ticket.opened", "ticket.closed", "fix.chosen", "fix.applied", "fix.verified", "fix.rolled_back", "fix.failed", "fix.unavailable", "risk.raised", "device.offline",
]);
const recent = 10 * 60_000; // a symptom newer than a matter by more than this is a matter of its own

/** The entry that a ticket began with, when it is among `entries`. */
export const opening = (entries: readonly Entry[], ticket: Ticket) =>
  entries.find((e) => e.kind === "ticket.opened" && e.subjects.some((s) => s.type === "ticket" && s.id === ticket.id));

/** The entry to tell about when there is no open ticket: the newest that means something to a person. */
export function newestHead(entries: readonly Entry[]): Entry | undefined {
  const matter = entries.find((e) => heads.has(e.kind));
  const symptom = entries.find((e) => e.kind === "symptom.seen");
  if (!matter || !symptom) return matter ?? symptom;
  return Date.parse(symptom.at) - Date.parse(matter.at) > recent ? symptom : matter;
}

/** Tells the story that ends in `head`, from the entries of a home, newest first or in any order. */
export function tell(entries: readonly Entry[], head: Entry): Story {
  const chain = causes(entries, head.id);
  const all = episode(entries, head.id);
  const root = chain[0] ?? head;
  const diagnosed = all.findLast((e) => e.diagnosis && e.diagnosis.verdict.segment !== "none");
  const why = diagnosed ?? chain.findLast((e) => e.risk) ?? (root === head ? undefined : root);
  return {
    head,
    root,
    since: root.at,
    why,
    segment: diagnosed?.diagnosis && segment(diagnosed.diagnosis.verdict.segment),
    tried: attempts(all),
    told: all.findLast((e) => e.kind === "customer.told"),
  };
}

/** The fixes of an episode, each with the newest thing known about it. */
function attempts(all: readonly Entry[]): Attempt[] {
  const latest = new Map<string, Attempt>();
  const fixes = new Set<string>(); // commands also ask for diagnoses and sessions
  for (const entry of all) {
    const outcome = outcomes[entry.kind];
    if (!outcome) continue;
    // Entries about one fix share the id of its command; a choice that was never sent has only its own.
    const key = entry.args?.command ?? entry.id;
    fixes.add(entry.kind.startsWith("fix.") ? key : "");
    latest.delete(key);
    latest.set(key, { key, entry, outcome });
  }
  return [...latest.values()].filter((attempt) => fixes.has(attempt.key));
}
