import { IconAlertTriangle, IconCircleCheck, IconHelpCircle, IconInfoCircle } from "@tabler/icons-react";
import type { Inbox, InboxMessage, Notice } from "../api/types";
import { Empty } from "../components/States";
import { Said, When } from "../components/When";
import { useI18n } from "../i18n";
import styles from "./inbox.module.css";

const icons = { good: IconCircleCheck, info: IconInfoCircle, ask: IconHelpCircle, bad: IconAlertTriangle };

type Item = { at: number; id: string } & ({ notice: Notice } | { message: InboxMessage });

/** What we found and did, and what was said, in the order in which it happened. */
export function Feed({ inbox }: { inbox: Inbox }) {
  const { t } = useI18n();
  const items = merge(inbox);
  if (items.length === 0) return <Empty title={t("inbox.empty")}>{t("inbox.empty.more")}</Empty>;
  return items.map((item) => ("notice" in item ? <NoticeCard key={item.id} notice={item.notice} /> : <Bubble key={item.id} message={item.message} />));
}

/** Questions that still wait for an answer stand at the foot of the page and not in the feed. */
function merge(inbox: Inbox): Item[] {
  const notices = inbox.notices
    .filter((notice) => notice.consent?.state !== "asked")
    .map((notice) => ({ at: Date.parse(notice.at), id: notice.id, notice }));
  // A promise is told by a notice too; once is enough.
  const told = (message: InboxMessage) => message.from === "us" && inbox.notices.some((notice) => notice.text.includes(message.text));
  const messages = inbox.messages.filter((message) => !told(message)).map((message, i) => ({ at: Date.parse(message.at), id: `m${i}-${message.at}`, message }));
  return [...messages, ...notices].sort((a, b) => a.at - b.at); // what was said comes before what followed at once
}

function NoticeCard({ notice }: { notice: Notice }) {
  const { t } = useI18n();
  const tone = notice.tone in icons ? (notice.tone as keyof typeof icons) : "info";
  const Icon = icons[tone];
  const answer = notice.consent?.state;
  return (
    <article className={styles.notice} data-tone={tone} data-notice={notice.id}>
      <Icon size={24} stroke={1.9} aria-hidden />
      <div>
        <h2>{notice.title}</h2>
        <p><Said text={notice.text} /></p>
        {answer && answer !== "asked" && <small>{t(`consent.${answer as "given" | "refused" | "withdrawn" | "expired"}`)}</small>}
        <small><When at={notice.at} show="both" /></small>
      </div>
    </article>
  );
}

function Bubble({ message }: { message: InboxMessage }) {
  const { t, lookup } = useI18n();
  const channel = message.channel !== "inbox" && message.channel !== "app" ? lookup(`channel.${message.channel}`) : undefined;
  return (
    <div className={styles.bubble} data-from={message.from}>
      {message.text}
      {message.promise && <small>{t("inbox.promised", { text: message.promise.text })} · <When at={message.promise.due} show="both" /></small>}
      <small>{channel && `${channel} · `}<When at={message.at} show="both" /></small>
    </div>
  );
}
