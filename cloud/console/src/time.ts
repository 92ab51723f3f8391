import { useSyncExternalStore } from "react";

const units: [Intl.RelativeTimeFormatUnit, number][] = [
  ["year", 31_557_600], ["month", 2_629_800], ["day", 86_400], ["hour", 3_600], ["minute", 60], ["second", 1],
];

/** "3 min. ago", "in 2 hr.": the largest unit that fits, rounded towards now. */
export function relative(at: number, now: number, lang: string): string {
  const seconds = Math.trunc((at - now) / 1000);
  const [unit, size] = units.find(([, size]) => Math.abs(seconds) >= size) ?? (["second", 1] as const);
  const format = new Intl.RelativeTimeFormat(lang, { numeric: "auto", style: "short" });
  return format.format(Math.trunc(seconds / size), unit);
}

/** A clock time, with the day when it is not today. `zone` is an IANA name. */
export function absolute(at: number, now: number, lang: string, opts: { zone?: string; seconds?: boolean; day?: boolean } = {}): string {
  const zone = opts.zone || undefined;
  const date = (ms: number) => new Date(ms).toLocaleDateString("en-CA", { timeZone: zone });
  const sameDay = !opts.day && date(at) === date(now);
  const sameYear = date(at).slice(0, 4) === date(now).slice(0, 4);
  return new Date(at).toLocaleString(lang, {
    timeZone: zone,
    hour: "2-digit", minute: "2-digit", second: opts.seconds ? "2-digit" : undefined, hourCycle: "h23",
    ...(sameDay ? {} : { day: "numeric", month: "short", year: sameYear ? undefined : "numeric" }),
  });
}

/** The date without a time, for what began long ago. */
export const dateOnly = (at: number, lang: string, zone?: string): string =>
  new Date(at).toLocaleDateString(lang, { timeZone: zone || undefined, day: "numeric", month: "short", year: "numeric" });

/** Everything about a moment, for a title: date, time with seconds, and zone. */
export function full(at: number, lang: string, zone?: string): string {
  return new Date(at).toLocaleString(lang, {
    timeZone: zone || undefined, dateStyle: undefined,
    weekday: "short", year: "numeric", month: "short", day: "numeric",
    hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23", timeZoneName: "short",
  });
}

/** A length of time between two steps of a story: "0.4 s", "12 s", "3 min", "2 h". */
export function span(ms: number, lang: string): string {
  const n = (value: number, unit: string, digits = 0) =>
    value.toLocaleString(lang, { style: "unit", unit, unitDisplay: "narrow", maximumFractionDigits: digits });
  if (ms < 950) return n(ms, "millisecond");
  if (ms < 9_950) return n(ms / 1000, "second", 1);
  if (ms < 99_500) return n(ms / 1000, "second");
  if (ms < 5_400_000) return n(ms / 60_000, "minute");
  if (ms < 129_600_000) return n(ms / 3_600_000, "hour");
  return n(ms / 86_400_000, "day");
}

// One clock for the page: every relative time moves together and no component owns a timer.
let now = Date.now();
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function subscribe(listener: () => void) {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const each of listeners) each();
  }, 5_000);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** The time now in milliseconds, moving every five seconds. */
export const useNow = () => useSyncExternalStore(subscribe, () => now);
