import { Button } from "@mantine/core";
import { useAnswer } from "../api/mutations";
import type { Inbox, Notice } from "../api/types";
import { useFault } from "../components/States";
import { When } from "../components/When";
import { useI18n } from "../i18n";
import styles from "./inbox.module.css";

/** What we ask of the customer, and what runs because they agreed: both always in reach of the thumb. */
export function Questions({ inbox }: { inbox: Inbox }) {
  const asked = inbox.notices.filter((n) => n.consent?.state === "asked" && !n.resolved);
  const open = new Set(inbox.sessions.filter((s) => s.state !== "closed").map((s) => s.id));
  const given = inbox.notices.filter((n) => n.consent?.state === "given" && n.consent.session && open.has(n.consent.session));
  return (
    <>
      {given.map((notice) => <Running key={notice.id} notice={notice} />)}
      {asked.map((notice) => <Question key={notice.id} notice={notice} />)}
    </>
  );
}

function Question({ notice }: { notice: Notice }) {
  const { t, lookup } = useI18n();
  const answer = useAnswer();
  const fault = useFault();
  const consent = notice.consent!;
  const reply = (answerWith: "given" | "refused") => answer.mutate({ request: consent.request, answer: answerWith });
  return (
    <section className={styles.ask} aria-label={notice.title} data-consent={consent.request}>
      <h2>{notice.title}</h2>
      <p>{notice.text}</p>
      <ul>
        {consent.what.map((what) => <li key={what}>{lookup(`consent.what.${what}`) ?? what}</li>)}
      </ul>
      <p style={{ color: "var(--ink-2)", fontSize: 13 }}>
        {t("consent.limits")} <When at={consent.until} />
      </p>
      {answer.isError && <p role="alert" style={{ color: "var(--bad)" }}>{fault(answer.error)}</p>}
      <div className={styles.buttons}>
        <Button data-answer="refused" variant="default" size="md" disabled={answer.isPending} onClick={() => reply("refused")}>{t("consent.no")}</Button>
        <Button data-answer="given" size="md" loading={answer.isPending} onClick={() => reply("given")}>{t("consent.yes")}</Button>
      </div>
    </section>
  );
}

function Running({ notice }: { notice: Notice }) {
  const { t } = useI18n();
  const answer = useAnswer();
  return (
    <section className={styles.running} aria-label={t("inbox.session")}>
      <span>
        <strong><span className={styles.pulse} aria-hidden /> {t("inbox.session")}</strong>
        {t("inbox.session.more")}
      </span>
      <Button data-answer="withdrawn" color="red" variant="light" loading={answer.isPending} onClick={() => answer.mutate({ request: notice.consent!.request, answer: "withdrawn" })}>
        {t("consent.withdraw")}
      </Button>
    </section>
  );
}
