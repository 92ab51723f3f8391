import { IconCheck, IconX } from "@tabler/icons-react";
import { segment as read } from "../api/types";
import { useI18n } from "../i18n";
import styles from "./timeline.module.css";

const segments = ["device", "home", "isp", "cloud"] as const;

/** The way from the device to us, with the part that is blamed. Beyond the break nothing is known. */
export function Path({ segment }: { segment: string }) {
  const { t } = useI18n();
  const blamed = read(segment);
  const broken = segments.indexOf(blamed as (typeof segments)[number]);
  const known = blamed !== "unknown";
  const label = t("path.label", { verdict: t(`segment.${blamed}`) });
  return (
    <ol className={styles.path} data-known={known} aria-label={label}>
      {segments.map((each, i) => (
        <li key={each} data-broken={i === broken} data-beyond={broken >= 0 && i > broken}>
          <span aria-hidden>
            {i === broken ? <IconX size={10} stroke={4} /> : known && (broken < 0 || i < broken) ? <IconCheck size={10} stroke={4} /> : null}
          </span>
          {t(`segment.${each}`)}
        </li>
      ))}
    </ol>
  );
}
