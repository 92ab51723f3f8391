// Metric names carry their unit as a suffix ("dns.latency_ms"); this turns a value into text for people.

const suffixes: [string, (value: number, lang: string) => string][] = [
  ["_ratio", (v, l) => v.toLocaleString(l, { style: "percent", maximumFractionDigits: v !== 0 && Math.abs(v) < 0.1 ? 1 : 0 })],
  ["reachable", (v) => (v ? "✓" : "✗")],
  ["carrier", (v) => (v ? "✓" : "✗")],
  ["_ms", (v, l) => `${digits(v, l)} ms`],
  ["_dbm", (v, l) => `${digits(v, l)} dBm`],
  ["_mbps", (v, l) => `${digits(v, l)} Mbit/s`],
  ["_bytes", bytes],
  ["_celsius", (v, l) => `${digits(v, l)} °C`],
  ["_s", (v, l) => `${digits(v, l)} s`],
];

export function reading(metric: string, value: number | null | undefined, lang: string): string {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const found = suffixes.find(([suffix]) => metric.endsWith(suffix));
  return found ? found[1](value, lang) : digits(value, lang);
}

function digits(value: number, lang: string): string {
  const size = Math.abs(value);
  return value.toLocaleString(lang, { maximumFractionDigits: size >= 100 || size === 0 ? 0 : size >= 10 ? 1 : 2 });
}

function bytes(value: number, lang: string): string {
  const names = ["B", "kB", "MB", "GB", "TB"];
  const step = value < 1 ? 0 : Math.min(names.length - 1, Math.floor(Math.log10(value) / 3));
  return `${digits(value / 1000 ** step, lang)} ${names[step]}`;
}
