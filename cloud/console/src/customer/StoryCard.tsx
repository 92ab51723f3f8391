import { IconArrowBackUp, IconCheck, IconDots, IconX } from "@tabler/icons-react";
import { Link } from "react-router";
import { useEntries, useWhy } from "../api/queries";
import type { CustomerView, Entry, Outage, Ticket } from "../api/types";
import { SegmentTag, Tag } from "../components/Status";
import { When } from "../components/When";
import { useI18n } from "../i18n";
import { headline } from "../i18n/fill";
import { newestHead, opening, tell, type Attempt } from "../timeline/story";
import { useWords } from "../timeline/words";
import styles from "./customer.module.css";

const icons = {
  worked: { Icon: IconCheck, colour: "var(--good)" },
  undone: { Icon: IconArrowBackUp, colour: "var(--warn)" },
  failed: { Icon: IconX, colour: "var(--bad)" },
  running: { Icon: IconDots, colour: "var(--ink-2)" },
};

/** The one matter that the caller is most likely calling about, in five answers. */
export function StoryCard({ home, ticket, problems, outage }: { home: string; ticket?: Ticket; problems: CustomerView["problems"]; outage?: Outage }) {
  const { t, lang } = useI18n();
  const words = useWords();
  const entries = useEntries(home);
  const list = entries.data ?? [];
  const first = ticket ? opening(list, ticket) : newestHead(list);
  // The beginning may lie further back than the entries that are loaded: its causes are asked for then.
  const end = first?.id ?? ticket?.because[0] ?? "";
  const past = useWhy(home, end, end !== "" && (!first || first.because.length > 0));
  const head = first ?? past.data?.find((e) => e.id === end);
  const problem = problems.find((p) => p.state === "open");
  if (!entries.data) return <div className={styles.story} aria-busy="true" />;
  if (!head && !ticket) {
    return (
      <div className={`${styles.story} ${styles.calm}`} data-tone={problem || outage ? "bad" : undefined}>
        <span>{outage && <Away outage={outage} />} {problem && <Known problem={problem} />} {!outage && !problem && t("story.calm")}</span>
      </div>
    );
  }
  const story = head && tell(merged(list, past.data), head);
  const tone = ticket ? (ticket.state === "waiting" ? "warn" : "bad") : head?.kind === "ticket.closed" || story?.tried.at(-1)?.outcome === "worked" ? "good" : "warn";
  const since = story?.since ?? ticket!.opened;
  return (
    <dl className={styles.story} data-tone={tone}>
      <div>
        <dt>{ticket ? t("story.what") : t("story.what.last")}</dt>
        <dd>
          <strong>{words.title(ticket?.title_text ?? head!.summary)}</strong>
          <small>
            {ticket ? t(ticket.state === "waiting" ? "story.ticket.waiting" : "story.ticket.open") : t("story.noticket")}
          </small>
          {outage && <Away outage={outage} />}
          {problem && <Known problem={problem} />}
        </dd>
      </div>
      <div>
        <dt>{t("story.since")}</dt>
        <dd>
          <strong><When at={since} /></strong>
          <small><When at={since} show="clock" seconds /></small>
        </dd>
      </div>
      <div>
        <dt>{t("story.why")}</dt>
        <dd>
          {story?.why?.diagnosis ? (
            <>
              <SegmentTag segment={story.why.diagnosis.verdict.segment} /> {words.verdict(story.why.diagnosis.verdict)}
            </>
          ) : (
            <>
              {ticket && ticket.segment !== "unknown" && <SegmentTag segment={ticket.segment} />} {story?.why?.summary ?? (outage ? headline(outage.segment_text, lang) : t("story.why.unknown"))}
            </>
          )}
          {story && story.root !== story.why && story.root !== head && <small>{t("story.first", { what: story.root.summary })}</small>}
        </dd>
      </div>
      <div>
        <dt>{t("story.tried")}</dt>
        <dd>
          {story && story.tried.length > 0 ? (
            <ul className={styles.tried}>
              {story.tried.slice(-3).map((attempt) => <Tried key={attempt.key} attempt={attempt} />)}
            </ul>
          ) : (
            t("story.tried.nothing")
          )}
          {story?.told && <small>{story.told.summary} · <When at={story.told.at} /></small>}
        </dd>
      </div>
    </dl>
  );
}

function Tried({ attempt: { entry, outcome } }: { attempt: Attempt }) {
  const { t, lookup } = useI18n();
  const { Icon, colour } = icons[outcome];
  const plan = entry.args?.plan && lookup(`plan.${entry.args.plan}`);
  return (
    <li>
      <Icon size={15} stroke={2.4} color={colour} aria-hidden />
      <span>{plan ? t(`story.${outcome}`, { plan }) : entry.summary}</span>
    </li>
  );
}

const Known = ({ problem }: { problem: CustomerView["problems"][number] }) => {
  const { t } = useI18n();
  return (
    <Link to={`/problems/${problem.id}`}>
      <Tag tone="bad">{t("story.problem", { cohort: problem.cohort_text })}</Tag>
    </Link>
  );
};

const Away = ({ outage }: { outage: Outage }) => {
  const { t } = useI18n();
  return (
    <Link to="/problems">
      <Tag tone="bad">{t("outage.here", { blamed: outage.segment_text })}</Tag>
    </Link>
  );
};

/** The loaded part of the timeline together with causes that lie further back. */
function merged(entries: Entry[], past: Entry[] | undefined): Entry[] {
  if (!past) return entries;
  const known = new Set(entries.map((e) => e.id));
  return [...entries, ...past.filter((e) => !known.has(e.id))];
}
