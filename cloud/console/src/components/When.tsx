import { Tooltip } from "@mantine/core";
import { useI18n } from "../i18n";
import { absolute, dateOnly, full, relative, useNow } from "../time";

interface Props {
  at: string | number;
  /** What to show: how long ago, the clock time, both, or only the date. */
  show?: "relative" | "clock" | "both" | "date";
  seconds?: boolean;
  zone?: string;
  /** Name the day even when it is today. */
  day?: boolean;
}

/** Words of the service. A moment in them is in RFC 3339, and shown in the reader's own time zone. */
export const Said = ({ text }: { text: string }) =>
  text.split(/(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d))/)
    .map((part, i) => (i % 2 && !Number.isNaN(Date.parse(part)) ? <When key={i} at={part} show="clock" /> : part));

/** A moment. The full date and zone are in its tooltip and in its machine-readable attribute. */
export function When({ at, show = "relative", seconds, zone, day }: Props) {
  const { lang } = useI18n();
  const now = useNow();
  const ms = typeof at === "number" ? at : Date.parse(at);
  const ago = relative(ms, Math.max(now, ms > now && ms - now < 10_000 ? ms : now), lang);
  const clock = absolute(ms, now, lang, { seconds, zone, day });
  return (
    <Tooltip label={full(ms, lang, zone)} openDelay={400}>
      <time dateTime={new Date(ms).toISOString()}>
        {show === "date" ? dateOnly(ms, lang, zone) : show === "relative" ? ago : show === "clock" ? clock : `${clock} · ${ago}`}
      </time>
    </Tooltip>
  );
}
