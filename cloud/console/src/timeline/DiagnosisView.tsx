import { IconAlertTriangle, IconCheck, IconMinus, IconX } from "@tabler/icons-react";
import type { Diagnosis, Step } from "../api/types";
import { useI18n } from "../i18n";
import { span } from "../time";
import { Path } from "./Path";
import { useWords } from "./words";
import styles from "./timeline.module.css";

const icons = { ok: IconCheck, warn: IconAlertTriangle, fail: IconX, skipped: IconMinus };

/** The steps of a diagnosis, finished or still running. */
export function Steps({ steps }: { steps: Step[] }) {
  const { t, lang } = useI18n();
  const words = useWords();
  return (
    <ol className={styles.steps}>
      {steps.map((step, i) => {
        const status = step.status in icons ? (step.status as keyof typeof icons) : "warn";
        const Icon = icons[status];
        return (
          <li key={i} className={styles.step} data-status={status}>
            <Icon size={15} stroke={2.2} aria-label={t(`step.status.${status}`)} />
            <span>
              {words.step(step.name)} {step.target && <span className="num">{step.target}</span>}{" "}
              <span className={styles.found}>{words.findings(step)}</span>
            </span>
            <span className={styles.took}>{step.took_ms > 0 && span(step.took_ms, lang)}</span>
          </li>
        );
      })}
    </ol>
  );
}

/** A finished diagnosis: where the path breaks, why, and what each step found. */
export function DiagnosisView({ diagnosis }: { diagnosis: Diagnosis }) {
  const { t } = useI18n();
  const words = useWords();
  return (
    <>
      <h3>{t("diagnosis.verdict", { kind: words.diagnosis(diagnosis.request.kind) })}</h3>
      <p style={{ margin: "0 0 8px" }}>{words.verdict(diagnosis.verdict)}</p>
      <Path segment={diagnosis.verdict.segment} />
      <h3>{t("diagnosis.steps")}</h3>
      <Steps steps={diagnosis.steps} />
    </>
  );
}
