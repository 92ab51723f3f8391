import { useMantineColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useMemo, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { Series } from "../api/types";
import { useI18n } from "../i18n";
import { absolute } from "../time";
import { reading } from "../units";
import styles from "./chart.module.css";

/** What a chart draws. Where each value stands for several samples, `max` holds the largest of them. */
export type Samples = Pick<Series, "metric" | "at" | "value"> & Partial<Pick<Series, "max">>;

interface Props {
  series: Samples | undefined;
  label: string;
  height?: number;
  /** Draw a time axis below the line. */
  axis?: boolean;
  /** A stretch of time to shade, in milliseconds. */
  mark?: { from: number; to: number };
  /** The stretch to show; by default that of the samples. */
  range?: { from: number; to: number };
}

/** One metric over time: its name, its last value (or the one under the pointer), and a line. */
export function Chart({ series, label, height = 44, axis, mark, range }: Props) {
  const { t, lang } = useI18n();
  const { ref, width } = useElementSize();
  const target = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const [at, setAt] = useState<number | null>(null);
  const { colorScheme } = useMantineColorScheme();
  const markFrom = mark?.from;
  const markTo = mark?.to;
  const from = range?.from;
  const to = range?.to;
  const metric = series?.metric ?? "";
  const drawn = useMemo(() => series && bridged(series), [series]);

  useEffect(() => {
    if (!target.current || width === 0) return;
    const style = getComputedStyle(target.current);
    const colour = (name: string) => probe(target.current!, style.getPropertyValue(name));
    const line = colour("--accent");
    const ink = colour("--ink-2");
    const shade = colour("--warn-soft");
    const made = new uPlot(
      {
        width,
        height,
        padding: axis ? [4, 4, 0, 4] : [3, 1, 2, 1],
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
        scales: {
          x: { time: true, range: from !== undefined && to !== undefined ? [from / 1000, to / 1000] : undefined },
          y: { range: (_, low, high) => span(metric, low, high) },
        },
        axes: [
          {
            show: axis ?? false, stroke: ink, grid: { show: false }, ticks: { show: false }, size: 20, space: 70, gap: 4,
            font: "11px Inter Variable, sans-serif",
            // One at the very edge would be cut off.
            values: (u, ticks) => ticks.map((s) => (Math.abs(u.valToPos(s, "x") - u.width / 2) > u.width / 2 - 30 ? "" : absolute(s * 1000, s * 1000, lang, { seconds: (ticks[1] ?? s) - ticks[0]! < 60 }))),
          },
          { show: false },
        ],
        series: [{}, { stroke: line, width: 1.5, fill: fade(line), points: { show: false }, spanGaps: false }],
        hooks: {
          setCursor: [(u) => setAt(u.cursor.idx ?? null)],
          drawClear: [
            (u) => {
              if (markFrom === undefined || markTo === undefined) return;
              const left = Math.max(u.bbox.left, u.valToPos(markFrom / 1000, "x", true));
              const right = Math.min(u.bbox.left + u.bbox.width, u.valToPos(markTo / 1000, "x", true));
              u.ctx.fillStyle = shade;
              u.ctx.fillRect(left, u.bbox.top, Math.max(2, right - left), u.bbox.height);
            },
          ],
        },
      },
      [[], []],
      target.current,
    );
    plot.current = made;
    return () => {
      plot.current = undefined;
      made.destroy();
    };
  }, [width, height, axis, markFrom, markTo, from, to, metric, lang, colorScheme]);

  useEffect(() => {
    plot.current?.setData(drawn ? [drawn.at.map((ms) => ms / 1000), drawn.value] : [[], []]);
  }, [drawn, width, height, axis, markFrom, markTo, from, to, metric, lang, colorScheme]);

  const values = drawn?.value ?? [];
  const last = values.findLast((v) => v !== null);
  const peak = mark && extreme(series, mark);
  const shown = at === null ? (peak ?? last) : values[at];
  const moment = at === null ? undefined : drawn?.at[at];
  const now = Date.now();
  return (
    <figure className={styles.figure} aria-label={`${label}: ${reading(metric, shown, lang)}`}>
      <figcaption className={styles.head}>
        <span className={styles.label}>{label}</span>
        <span className={styles.value}>
          {moment !== undefined && <small>{absolute(moment, now, lang, { seconds: true })} </small>}
          {at === null && peak !== undefined ? t("chart.peak", { value: reading(metric, peak, lang) }) : reading(metric, shown, lang)}
        </span>
      </figcaption>
      <div ref={ref} className={styles.plot} style={{ height }}>
        <div ref={target} />
        {series && values.every((v) => v === null) && <div className={styles.none}>{t("chart.none")}</div>}
      </div>
    </figure>
  );
}

/**
 * Leaves out empty steps of one or two between samples: they come of steps as short as the sampling, and
 * are no hole in what was measured. Longer ones stay and break the line.
 */
function bridged({ at, value }: Samples): { at: number[]; value: (number | null)[] } {
  const keep = value.map((v, i) => {
    if (v !== null) return true;
    let from = i;
    let to = i;
    while (from > 0 && value[from - 1] === null) from--;
    while (to < value.length - 1 && value[to + 1] === null) to++;
    return from === 0 || to === value.length - 1 || to - from >= 2;
  });
  return { at: at.filter((_, i) => keep[i]), value: value.filter((_, i) => keep[i]) };
}

/** The value farthest from zero inside the marked stretch. */
function extreme(series: Samples | undefined, { from, to }: { from: number; to: number }): number | undefined {
  let found: number | undefined;
  (series?.max ?? series?.value)?.forEach((v, i) => {
    const at = series!.at[i]!;
    if (v !== null && at >= from && at <= to && (found === undefined || Math.abs(v) > Math.abs(found))) found = v;
  });
  return found;
}

/** The vertical scale: ratios and times start at zero, and a flat line is not blown up into noise. */
function span(metric: string, low: number | null, high: number | null): [number, number] {
  if (low === null || high === null) return [0, 1];
  if (metric.endsWith("_ratio")) return [0, Math.max(0.02, high * 1.1)];
  if (metric.endsWith("_ms")) return [0, Math.max(1, high * 1.1)];
  const room = Math.max((high - low) * 0.1, Math.abs(high) * 0.05, 1e-9);
  return [low - room, high + room];
}

/** Resolves the value of a custom property to the form of a colour that fade() reads. */
function probe(near: HTMLElement, value: string): string {
  const sample = document.createElement("span");
  sample.style.color = value;
  near.append(sample);
  const colour = getComputedStyle(sample).color;
  sample.remove();
  return colour;
}

const fade = (rgb: string) => rgb.replace(/^rgb\((.*)\)$/, "rgba($1, 0.1)");
