import type { ReactNode } from "react";
import { segment as read, type Ticket } from "../api/types";
import { useI18n } from "../i18n";
import { healthTone, type Tone } from "../tone";
import styles from "./status.module.css";

/** A coloured dot. Decoration only: the words beside it must say the same. */
export const Dot = ({ tone }: { tone: Tone }) => <span className={styles.dot} data-tone={tone} aria-hidden />;

export const Tag = ({ tone = "plain", children }: { tone?: Tone; children: ReactNode }) => (
  <span className={styles.tag} data-tone={tone}>
    {children}
  </span>
);

export function TicketTag({ ticket }: { ticket: Ticket }) {
  const { lookup } = useI18n();
  return <Tag tone={ticket.state === "solved" ? "good" : ticket.state === "waiting" ? "plain" : "warn"}>{lookup(`ticket.${ticket.state}`) ?? ticket.state}</Tag>;
}

export function SegmentTag({ segment }: { segment: string | undefined }) {
  const { t } = useI18n();
  const known = read(segment);
  return <Tag tone={known === "none" ? "good" : known === "unknown" ? "plain" : "bad"}>{t(`segment.${known}`)}</Tag>;
}

/** A health score from 0 to 100 as a ring. Undefined means that too little is known to say. */
export function Score({ value, size = 44 }: { value: number | undefined; size?: number }) {
  const { t } = useI18n();
  const stroke = size >= 40 ? 4 : 3;
  const radius = (size - stroke) / 2;
  const round = 2 * Math.PI * radius;
  const label = value === undefined ? t("health.unknown") : t("health.score", { score: Math.round(value) });
  return (
    <span className={styles.score} data-tone={healthTone(value)} role="img" aria-label={label} style={{ width: size, height: size, fontSize: size * 0.34 }}>
      <svg viewBox={`0 0 ${size} ${size}`} aria-hidden>
        <circle cx={size / 2} cy={size / 2} r={radius} strokeWidth={stroke} />
        {value !== undefined && (
          <circle
            className={styles.arc}
            cx={size / 2} cy={size / 2} r={radius} strokeWidth={stroke}
            strokeDasharray={round} strokeDashoffset={round * (1 - value / 100)}
          />
        )}
      </svg>
      {value === undefined ? "–" : Math.round(value)}
    </span>
  );
}
