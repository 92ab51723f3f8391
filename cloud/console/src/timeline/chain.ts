import type { Entry } from "../api/types";

/**
 * The causes of an entry, in the order in which they came about and ending with the entry itself.
 * `entries` may hold more than the causes, in any order; causes that it lacks are left out, and a
 * cycle, which honest writers cannot make, ends the walk.
 */
export function causes(entries: readonly Entry[], id: string): Entry[] {
  const byId = new Map(entries.map((entry) => [entry.id, entry]));
  const found = new Set<Entry>();
  const open = [id];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const entry = byId.get(next);
    if (!entry || found.has(entry)) continue;
    found.add(entry);
    open.push(...entry.because);
  }
  return inOrder([...found]);
}

/** Everything that hangs together with an entry: its causes, what they led to, and so on. */
export function episode(entries: readonly Entry[], id: string): Entry[] {
  const near = new Map<string, string[]>();
  const join = (a: string, b: string) => near.set(a, [...(near.get(a) ?? []), b]);
  for (const entry of entries) {
    for (const cause of entry.because) {
      join(entry.id, cause);
      join(cause, entry.id);
    }
  }
  const found = new Set([id]);
  const open = [id];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const other of near.get(next) ?? []) {
      if (!found.has(other)) {
        found.add(other);
        open.push(other);
      }
    }
  }
  return inOrder(entries.filter((entry) => found.has(entry.id)));
}

/** Sorts by time; of two at the same moment the cause comes first. */
function inOrder(entries: Entry[]): Entry[] {
  return entries.sort((a, b) => {
    const gap = Date.parse(a.at) - Date.parse(b.at);
    if (gap !== 0) return gap;
    if (b.because.includes(a.id)) return -1;
    if (a.because.includes(b.id)) return 1;
    return Date.parse(a.recorded) - Date.parse(b.recorded) || (a.id < b.id ? -1 : 1);
  });
}
