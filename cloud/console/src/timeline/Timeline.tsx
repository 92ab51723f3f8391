import { Button } from "@mantine/core";
import { useMemo, useState, type ReactNode } from "react";
import { useEntries } from "../api/queries";
import type { Entry } from "../api/types";
import { Empty, Failure, Lines } from "../components/States";
import { Dot } from "../components/Status";
import { Said, When } from "../components/When";
import { useI18n } from "../i18n";
import { useNow } from "../time";
import { entryTone } from "../tone";
import { fold } from "./calm";
import { causes } from "./chain";
import { explains, Why } from "./Why";
import styles from "./timeline.module.css";

/** A home's timeline, newest first. One entry at a time tells why; its causes are marked in the list. */
export function Timeline({ home }: { home: string }) {
  const { t, lang } = useI18n();
  const entries = useEntries(home);
  const [open, setOpen] = useState<string>();
  const isNew = useArrivals(entries.data);
  const chain = useMemo(() => new Set(open && entries.data ? causes(entries.data, open).map((e) => e.id) : []), [entries.data, open]);
  const days = useMemo(() => byDay(entries.data ?? []), [entries.data]);
  const now = useNow();

  const row = (entry: Entry) => (
    <Row
      key={entry.id}
      entry={entry}
      fresh={isNew(entry)}
      open={open === entry.id}
      inChain={chain.has(entry.id)}
      toggle={() => setOpen(open === entry.id ? undefined : entry.id)}
    />
  );
  if (entries.isError && !entries.data) return <Failure error={entries.error} retry={() => void entries.refetch()} />;
  if (!entries.data) return <Lines n={9} />;
  if (entries.data.length === 0) return <Empty title={t("timeline.empty")}>{t("timeline.empty.more")}</Empty>;
  return (
    <div aria-label={t("timeline.title")} role="log" aria-live="off">
      {days.map(([day, list]) => (
        <section key={day}>
          <div className={styles.day}>{dayName(list[0]!.at, now, lang)}</div>
          <ol className={styles.list}>
            {fold(list, chain).map((stretch) =>
              "entry" in stretch ? row(stretch.entry) : <Folded key={stretch.folded.at(-1)!.id} entries={stretch.folded} row={row} />,
            )}
          </ol>
        </section>
      ))}
      {entries.hasNextPage && (
        <Button variant="subtle" size="xs" fullWidth mt="sm" loading={entries.isFetchingNextPage} onClick={() => void entries.fetchNextPage()}>
          {t("timeline.more")}
        </Button>
      )}
    </div>
  );
}

interface RowProps {
  entry: Entry;
  fresh: boolean;
  open: boolean;
  inChain: boolean;
  toggle: () => void;
}

function Row({ entry, fresh, open, inChain, toggle }: RowProps) {
  const { t } = useI18n();
  const panel = `why-${entry.id}`;
  return (
    <li className={styles.row} data-new={fresh} data-chain={inChain} data-kind={entry.kind} data-entry={entry.id}>
      <span className={styles.clock}>
        <When at={entry.at} show="clock" seconds />
      </span>
      <span className={styles.rail}>
        <Dot tone={entryTone(entry.kind)} />
      </span>
      <div className={styles.body}>
        <div className={styles.line}>
          <div className={styles.summary}><Said text={entry.summary} /></div>
          {explains(entry) && (
            <button type="button" className={styles.why} aria-expanded={open} aria-controls={panel} onClick={toggle}>
              {entry.because.length > 0 ? t("why.ask") : t("why.details")}
            </button>
          )}
        </div>
        <div className={styles.meta}>
          {entry.actor_name} · <When at={entry.at} />
        </div>
        {open && (
          <div id={panel}>
            <Why entry={entry} />
          </div>
        )}
      </div>
    </li>
  );
}

/** Minor entries as one line that opens. The oldest names it, so that it stays open while it grows. */
function Folded({ entries, row }: { entries: Entry[]; row: (entry: Entry) => ReactNode }) {
  const { t } = useI18n();
  const [open, setOpen] = useState(false);
  return (
    <>
      <li className={styles.row}>
        <span className={styles.clock}>
          <When at={entries[0]!.at} show="clock" seconds />
        </span>
        <span className={styles.rail} data-minor="true" />
        <div className={styles.body}>
          <button type="button" className={styles.fold} aria-expanded={open} onClick={() => setOpen(!open)}>
            {open ? t("timeline.fewer") : t("timeline.minor", { n: entries.length })}
          </button>
        </div>
      </li>
      {open && entries.map(row)}
    </>
  );
}

function byDay(entries: Entry[]): [string, Entry[]][] {
  const days = new Map<string, Entry[]>();
  for (const entry of entries) {
    const day = new Date(entry.at).toDateString();
    const list = days.get(day);
    if (list) list.push(entry);
    else days.set(day, [entry]);
  }
  return [...days];
}

function dayName(at: string, now: number, lang: string): string {
  const date = new Date(at);
  const age = Math.round((new Date(now).setHours(0, 0, 0, 0) - new Date(at).setHours(0, 0, 0, 0)) / 86_400_000);
  const name = date.toLocaleDateString(lang, { weekday: "long", day: "numeric", month: "long" });
  if (age > 1 || age < 0) return name;
  const word = new Intl.RelativeTimeFormat(lang, { numeric: "auto" }).format(-age, "day");
  return `${word.charAt(0).toLocaleUpperCase(lang)}${word.slice(1)} · ${name}`;
}

/** Tells which entries were recorded after the page was opened. */
function useArrivals(entries: Entry[] | undefined): (entry: Entry) => boolean {
  const [opened, setOpened] = useState<number>();
  if (entries && opened === undefined) setOpened(Math.max(0, ...entries.map((e) => Date.parse(e.recorded))));
  return (entry) => opened !== undefined && Date.parse(entry.recorded) > opened;
}
