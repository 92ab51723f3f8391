import type { Entry } from "../api/types";
import { useTelemetry, useWhy } from "../api/queries";
import { Chart } from "../components/Chart";
import { Failure, Lines } from "../components/States";
import { Dot } from "../components/Status";
import { Said } from "../components/When";
import { useI18n } from "../i18n";
import { span } from "../time";
import { entryTone } from "../tone";
import { reading } from "../units";
import { causes } from "./chain";
import { DiagnosisView } from "./DiagnosisView";
import { useWords } from "./words";
import styles from "./timeline.module.css";

/** Why an entry came about: its causes back to the first sample that showed it, with the evidence. */
export function Why({ entry }: { entry: Entry }) {
  const { t, lang } = useI18n();
  const why = useWhy(entry.home, entry.id, entry.because.length > 0);
  if (why.isError) return <Failure error={why.error} retry={() => void why.refetch()} />;
  if (why.isLoading) return <div className={styles.panel}><Lines n={Math.min(3, entry.because.length + 1)} height={20} /></div>;
  const chain = causes([...(why.data ?? []).filter((e) => e.id !== entry.id), entry], entry.id);
  return (
    <div className={styles.panel}>
      {chain.length > 1 && (
        <>
          <h3>{t("why.chain")}</h3>
          <ol className={styles.steps}>
            {chain.map((cause, i) => (
              <li key={cause.id} className={styles.cause} data-cause={cause.kind}>
                <span className={styles.delta}>{i > 0 && `+${span(Date.parse(cause.at) - Date.parse(chain[0]!.at), lang)}`}</span>
                <span className={styles.rail}>
                  <Dot tone={entryTone(cause.kind)} />
                </span>
                <div className={styles.text}>
                  <Said text={cause.summary} />
                  {cause !== entry && <EvidenceCharts entry={cause} />}
                  {cause !== entry && cause.risk && <Reasons entry={cause} />}
                </div>
              </li>
            ))}
          </ol>
        </>
      )}
      {entry.risk && (
        <>
          <h3>{t("why.reasons")}</h3>
          <Reasons entry={entry} />
        </>
      )}
      {entry.evidence && entry.evidence.length > 0 && (
        <>
          <h3>{t("why.evidence")}</h3>
          <EvidenceCharts entry={entry} />
        </>
      )}
      {entry.diagnosis && <DiagnosisView diagnosis={entry.diagnosis} />}
    </div>
  );
}

export const explains = (entry: Entry) => entry.because.length > 0 || !!entry.risk || !!entry.diagnosis || !!entry.evidence?.length;

function Reasons({ entry }: { entry: Entry }) {
  const { t, lang } = useI18n();
  const words = useWords();
  return (
    <ul className={styles.steps}>
      {entry.risk?.reasons.map((reason, i) => {
        const value = reading(reason.feature, reason.value, lang);
        const normal = reading(reason.feature, reason.normal, lang);
        return <li key={i} className={styles.reason}>
          <span>{words.feature(reason.feature, reason.instance)}</span>
          {/* One that reads as usual is a reason by what it did before. */}
          <span className={styles.of}>{value !== normal && t("why.value", { value, normal })}</span>
          <span className={styles.bar} aria-hidden>
            <i style={{ width: `${Math.round(reason.share * 100)}%` }} />
          </span>
          <span className="num">{reading("_ratio", reason.share, lang)}</span>
        </li>;
      })}
    </ul>
  );
}

function EvidenceCharts({ entry }: { entry: Entry }) {
  const device = entry.subjects.find((s) => s.type === "device")?.id ?? (entry.actor.type === "device" ? entry.actor.id : undefined);
  const cited = entry.evidence ?? [];
  if (!device || cited.length === 0) return null;
  return (
    <div className={styles.charts}>
      {cited.slice(0, 4).map((each, i) => (
        <EvidenceChart key={i} device={device} {...each} />
      ))}
    </div>
  );
}

function EvidenceChart({ device, metric, instance, from, to }: { device: string; metric: string; instance?: string; from: number; to: number }) {
  const words = useWords();
  // As much again on both sides, so that the eye sees what was normal before.
  const room = Math.max(15_000, (to - from) * 0.75);
  const range = { from: from - room, to: to + room };
  const seconds = (range.to - range.from) / 1000; // nobody samples faster
  const telemetry = useTelemetry(device, [metric], range, Math.max(10, Math.min(240, Math.round(seconds))));
  const series = telemetry.data?.find((s) => s.metric === metric && s.instance === (instance ?? "")) ?? (telemetry.data && { metric, at: [], value: [] });
  return (
    <div className={styles.chart}>
      <Chart series={series} label={words.metric(metric, instance)} height={84} axis mark={{ from, to }} range={range} />
    </div>
  );
}
