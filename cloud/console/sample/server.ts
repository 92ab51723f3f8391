import type { Plugin } from "vite";
import * as data from "./data.ts";

/** Answers the reads of the pages from data.ts, and takes every write without effect. */
export function sample(): Plugin {
  const page = (items: unknown[]) => ({ items });
  const reads: [RegExp, (query: URLSearchParams) => unknown][] = [
    [/^\/v1\/me$/, () => ({ csrf: "x", tenant: "demo", staff: { id: "s1", name: "Jonas", role: "agent" } })],
    [/^\/v1\/find$/, () => page(data.matches)],
    [/^\/v1\/tickets$/, (query) => page(data.tickets.filter((t) => query.getAll("state").includes(t.state)))],
    [/^\/v1\/customers\//, () => data.customer],
    [/\/why$/, () => page(data.entries)],
    [/\/entries$/, () => page(data.entries)],
    [/\/telemetry$/, telemetry],
    [/^\/v1\/outages$/, () => page(data.outages)],
    [/^\/v1\/problems$/, () => page(data.problems)],
    [/^\/v1\/problems\//, () => data.problemView],
    [/^\/v1\/sessions\//, () => data.session],
    [/^\/v1\/inbox$/, () => data.inbox],
  ];
  return {
    name: "sample",
    configureServer(server) {
      server.middlewares.use((request, response, next) => {
        const url = new URL(request.url ?? "/", "http://sample");
        if (!url.pathname.startsWith("/v1/")) return next();
        if (/\/(events|signals)$/.test(url.pathname)) {
          response.writeHead(200, { "Content-Type": "text/event-stream" }).write(": open\n\n");
          return;
        }
        const read = reads.find(([path]) => path.test(url.pathname));
        const answer = request.method !== "GET" ? {} : read?.[1](url.searchParams);
        response.writeHead(answer ? 200 : 404, { "Content-Type": "application/json" }).end(JSON.stringify(answer ?? { status: 404, title: "Not Found" }));
      });
    },
  };
}

/** A quiet line with a fault in the middle of each asked stretch. */
function telemetry(query: URLSearchParams) {
  const from = Date.parse(query.get("from")!);
  const to = Date.parse(query.get("to")!);
  const n = Number(query.get("points") ?? 180);
  return {
    series: query.getAll("metric").map((name) => {
      const [, metric = name, instance = ""] = /^([^{]+)\{(.*)\}$/.exec(name) ?? [];
      const at = Array.from({ length: n }, (_, i) => from + ((to - from) * i) / n);
      const fault = (i: number) => (i > n * 0.48 && i < n * 0.72 ? 1 : 0);
      const noise = (i: number) => Math.abs(Math.sin(i * 12.9898 + metric.length) * 43758.5453) % 1;
      const value = at.map((_, i) =>
        metric.endsWith("_ratio") ? fault(i) * (0.2 + 0.15 * noise(i)) : metric.startsWith("dns") ? 12 + 6 * noise(i) + fault(i) * 600 * noise(i + 1) : 22 + 8 * noise(i),
      );
      return { metric, instance, unit: "", at, value, min: value, max: value };
    }),
  };
}
