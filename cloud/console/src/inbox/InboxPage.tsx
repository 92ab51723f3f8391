import { ActionIcon, Textarea } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import { IconSend2 } from "@tabler/icons-react";
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { ApiError } from "../api/client";
import { useLive } from "../api/live";
import { openInbox, useWriteToUs } from "../api/mutations";
import { useInbox } from "../api/queries";
import type { Inbox } from "../api/types";
import { Failure, Lines } from "../components/States";
import { Dot } from "../components/Status";
import { I18n, useI18n } from "../i18n";
import { match } from "../i18n/languages";
import { healthTone } from "../tone";
import { Feed } from "./Feed";
import { Questions } from "./Questions";
import styles from "./inbox.module.css";

/**
 * The customer's inbox. The link that opens it carries a signed token behind the #, which browsers do
 * not send anywhere; it is exchanged for a cookie and then taken out of the address. A newer link that is
 * opened where the page is already open changes no more than what is behind the #.
 */
export function InboxPage() {
  const [opened, setOpened] = useState<"no" | "yes" | Error>("no");
  const client = useQueryClient();
  useEffect(() => {
    const open = async () => {
      const token = decodeURIComponent(location.hash.slice(1)).replace(/^t(oken)?=/, "");
      if (token) {
        history.replaceState(null, "", location.pathname);
        await openInbox(token);
        await client.resetQueries({ queryKey: ["inbox"] });
      }
      setOpened("yes"); // without a token, a cookie may be there from before
    };
    const onHash = () => void open().catch(setOpened);
    onHash();
    addEventListener("hashchange", onHash);
    return () => removeEventListener("hashchange", onHash);
  }, [client]);
  const inbox = useInbox(opened === "yes");
  useLive(inbox.data ? "/v1/inbox/events" : undefined, ["inbox"]);
  const error = opened instanceof Error ? opened : inbox.error;
  if (error && !inbox.data) return <Closed error={error} retry={() => location.reload()} />;
  if (!inbox.data) return <div className={styles.page}><div className={styles.feed}><Lines n={4} height={84} /></div></div>;
  return (
    <I18n forced={match([inbox.data.customer.language, ...navigator.languages])}>
      <Opened inbox={inbox.data} />
    </I18n>
  );
}

function Closed({ error, retry }: { error: unknown; retry: () => void }) {
  const { t } = useI18n();
  const refused = error instanceof ApiError && (error.status === 401 || error.status === 403);
  return (
    <main className={styles.closed}>
      <img src="/favicon.svg" alt="" />
      {refused ? <><h1>{t("inbox.closed")}</h1><p>{t("inbox.closed.more")}</p></> : <Failure error={error} retry={retry} />}
    </main>
  );
}

function Opened({ inbox }: { inbox: Inbox }) {
  const { t } = useI18n();
  useDocumentTitle(t("inbox.title"));
  const end = useRef<HTMLDivElement>(null);
  const count = inbox.notices.length + inbox.messages.length;
  useEffect(() => {
    end.current?.scrollIntoView({ block: "end" });
  }, [count]);
  return (
    <div className={styles.page}>
      <header className={styles.top}>
        <img src="/favicon.svg" alt="" />
        <div>
          <h1>{inbox.homes.map((h) => h.home.name).join(", ") || inbox.customer.name}</h1>
          <Wellbeing inbox={inbox} />
        </div>
      </header>
      <main className={styles.feed} tabIndex={0} aria-label={t("inbox.title")}>
        <Feed inbox={inbox} />
        <div ref={end} />
      </main>
      <footer className={styles.foot}>
        <Questions inbox={inbox} />
        <Compose />
      </footer>
    </div>
  );
}

/** One line about how the homes are, from the worst of their devices. */
function Wellbeing({ inbox }: { inbox: Inbox }) {
  const { t } = useI18n();
  const devices = inbox.homes.flatMap((h) => h.devices);
  const offline = devices.filter((d) => !d.online).length;
  const scores = devices.flatMap((d) => (d.health ? [d.health.score] : []));
  const tone = offline > 0 ? "bad" : healthTone(scores.length > 0 ? Math.min(...scores) : undefined);
  const text = offline > 0 ? t("inbox.offline", { n: offline }) : tone === "plain" ? t("inbox.learning") : t(`inbox.${tone as "good" | "warn" | "bad"}`);
  return <p role="status"><Dot tone={tone} /> {text}</p>;
}

function Compose() {
  const { t } = useI18n();
  const [text, setText] = useState("");
  const write = useWriteToUs();
  const send = () => {
    if (text.trim()) write.mutate(text.trim(), { onSuccess: () => setText("") });
  };
  return (
    <form
      className={styles.compose}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
    >
      <Textarea
        aria-label={t("inbox.write")} placeholder={t("inbox.write")} autosize minRows={1} maxRows={5} radius="lg" size="md" maxLength={4000}
        value={text} onChange={(e) => setText(e.currentTarget.value)} error={write.isError ? t("inbox.unsent") : undefined}
      />
      <ActionIcon type="submit" size={42} radius="xl" aria-label={t("inbox.send")} loading={write.isPending} disabled={!text.trim()}>
        <IconSend2 size={20} />
      </ActionIcon>
    </form>
  );
}
