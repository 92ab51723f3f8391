import type { Entry } from "../api/types";

/** A stretch of a timeline: one entry that stands for itself, or several that are folded into a line. */
export type Stretch = { entry: Entry } | { folded: Entry[] };

// What explains other entries but is seldom news by itself.
const minor = new Set(["symptom.seen", "symptom.cleared", "command.sent", "diagnosis.asked", "customer.asked"]);

/** From so many on, minor entries in a row are folded. */
export const foldFrom = 3;

/**
 * Folds runs of minor entries, so that a line that flickers all night is one line of the timeline and not
 * its whole height. Entries in `keep` stay: they are part of what is being explained.
 */
export function fold(entries: readonly Entry[], keep: ReadonlySet<string>): Stretch[] {
  const out: Stretch[] = [];
  let run: Entry[] = [];
  const flush = () => {
    if (run.length >= foldFrom) out.push({ folded: run });
    else out.push(...run.map((entry) => ({ entry })));
    run = [];
  };
  for (const entry of entries) {
    if (minor.has(entry.kind) && !keep.has(entry.id)) {
      run.push(entry);
      continue;
    }
    flush();
    out.push({ entry });
  }
  flush();
  return out;
}
