import type { ProblemView } from "../api/types";
import { useI18n } from "../i18n";

const height = 132;
const foot = 18;

/** Faults per day as bars, with what the rest of the fleet lets us expect as a line across each. */
export function DailyBars({ daily }: { daily: ProblemView["evidence"]["daily"] }) {
  const { t, lang } = useI18n();
  if (daily.length === 0) return null;
  const top = Math.max(1, ...daily.map((d) => Math.max(d.observed, d.expected)));
  const width = 100 / daily.length;
  const y = (value: number) => (height - foot) * (1 - value / top);
  const day = (text: string) => new Date(text).toLocaleDateString(lang, { month: "short", day: "numeric" });
  const every = Math.ceil(daily.length / 6);
  return (
    <figure style={{ margin: 0 }}>
      <svg role="img" aria-label={t("problem.chart")} width="100%" height={height} style={{ display: "block", overflow: "visible" }}>
        {daily.map((d, i) => {
          const over = d.observed > d.expected * 2 && d.observed > 1;
          return (
            <g key={d.day}>
              <title>{`${day(d.day)}: ${t("problem.bar", { observed: d.observed, expected: d.expected.toLocaleString(lang, { maximumFractionDigits: 1 }) })}`}</title>
              <rect x={`${i * width}%`} y={0} width={`${width}%`} height={height - foot} fill="transparent" />
              <rect x={`${(i + 0.14) * width}%`} y={y(d.observed)} width={`${width * 0.72}%`} height={height - foot - y(d.observed)} rx={2} fill={over ? "var(--bad)" : "var(--ink-3)"} opacity={over ? 0.9 : 0.45} />
              <line x1={`${i * width}%`} x2={`${(i + 1) * width}%`} y1={y(d.expected)} y2={y(d.expected)} stroke="var(--ink)" strokeWidth={1.5} strokeDasharray="3 2" />
              {i % every === 0 && <text x={`${(i + 0.5) * width}%`} y={height - 3} textAnchor="middle" fontSize={11} fill="var(--ink-2)">{day(d.day)}</text>}
            </g>
          );
        })}
        <line x1="0" x2="100%" y1={height - foot} y2={height - foot} stroke="var(--line)" />
      </svg>
      <figcaption style={{ marginTop: 8, fontSize: 12, color: "var(--ink-2)" }}>{t("problem.legend")}</figcaption>
    </figure>
  );
}
