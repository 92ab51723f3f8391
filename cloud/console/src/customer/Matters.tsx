import { Button, Text } from "@mantine/core";
import { IconHourglass } from "@tabler/icons-react";
import { useState } from "react";
import { Link } from "react-router";
import { useCloseTicket, useKeepPromise, useNoteTicket } from "../api/mutations";
import type { CustomerView, Outage, PromiseView, Ticket } from "../api/types";
import { useFault } from "../components/States";
import { SegmentTag, Tag, TicketTag } from "../components/Status";
import { When } from "../components/When";
import { useI18n } from "../i18n";
import { headline } from "../i18n/fill";
import { useNow } from "../time";
import { TextDialog } from "./TextDialog";
import styles from "./customer.module.css";

/** What is open between us and the customer: promises, tickets, known problems, and what was said. */
export function Matters({ view, home, outage, tickets }: { view: CustomerView; home: string; outage?: Outage; tickets: Ticket[] }) {
  const { t, lookup, lang } = useI18n();
  const open = tickets.filter((ticket) => ticket.state !== "solved");
  const contacts = view.contacts.filter((c) => !c.home || c.home === home);
  const promises = view.promises.filter((p) => !p.kept);
  return (
    <>
      {promises.length > 0 && (
        <>
          <h3 className={styles.sub}>{t("matters.promises")}</h3>
          {promises.map((promise) => <PromiseLine key={promise.contact} promise={promise} />)}
        </>
      )}
      {outage && (
        <>
          <h3 className={styles.sub}>{t("matters.outage")}</h3>
          <div className={styles.matter} data-outage={outage.id}>
            <Link to="/problems">{headline(outage.segment_text, lang)}{outage.place_text && ` · ${outage.place_text}`}</Link>{" "}
            <Tag tone="bad">{t("outage.open")}</Tag>
            <p><small>{t("outage.since", { homes: outage.homes })} <When at={outage.from} show="both" /></small></p>
          </div>
        </>
      )}
      <h3 className={styles.sub}>{t("matters.tickets")}</h3>
      {open.length === 0 ? <p className={styles.matter}><small>{t("matters.noticket")}</small></p> : open.map((ticket) => <TicketCard key={ticket.id} ticket={ticket} />)}
      {view.problems.length > 0 && (
        <>
          <h3 className={styles.sub}>{t("matters.problems")}</h3>
          {view.problems.map((problem) => (
            <div key={problem.id} className={styles.matter}>
              <Link to={`/problems/${problem.id}`}>{headline(problem.cohort_text, lang)}</Link>{" "}
              <Tag tone={problem.state === "open" ? "bad" : "plain"}>{lookup(`problem.${problem.state}`) ?? problem.state}</Tag>
              <p><small>{t("matters.since")} <When at={problem.since} /></small></p>
            </div>
          ))}
        </>
      )}
      <h3 className={styles.sub}>{t("matters.contacts")}</h3>
      {contacts.length === 0 ? (
        <p className={styles.matter}><small>{t("matters.nocontact")}</small></p>
      ) : (
        contacts.map((contact) => (
          <div key={contact.id} className={styles.matter}>
            <div className={styles.row}>
              <Tag>{lookup(`channel.${contact.channel}`) ?? contact.channel}</Tag>
              <small><When at={contact.at} show="both" /></small>
            </div>
            <blockquote>{contact.text}</blockquote>
            {contact.promise && <small>{t("matters.promised", { text: contact.promise.text })} · <When at={contact.promise.due} show="both" /></small>}
          </div>
        ))
      )}
    </>
  );
}

function PromiseLine({ promise }: { promise: PromiseView }) {
  const { t } = useI18n();
  const keep = useKeepPromise();
  const fault = useFault();
  const late = Date.parse(promise.due) < useNow();
  return (
    <div className={styles.promise} data-late={late}>
      <IconHourglass size={16} stroke={1.9} aria-hidden />
      <span>
        {promise.text}
        <br />
        <small>{late ? t("matters.late") : t("matters.due")} <When at={promise.due} show="both" /></small>
        {keep.error && <Text component="span" display="block" size="xs" c="var(--bad)" role="alert">{fault(keep.error)}</Text>}
      </span>
      <Button size="compact-xs" variant="default" loading={keep.isPending} onClick={() => keep.mutate(promise.contact)}>{t("matters.kept")}</Button>
    </div>
  );
}

function TicketCard({ ticket }: { ticket: Ticket }) {
  const { t, lang } = useI18n();
  const [dialog, setDialog] = useState<"remark" | "close">();
  const remark = useNoteTicket();
  const close = useCloseTicket();
  const write = dialog === "remark" ? remark : close;
  const done = () => setDialog(undefined);
  return (
    <div className={styles.matter} data-ticket={ticket.id}>
      <strong>{headline(ticket.title_text, lang)}</strong>
      <p style={{ display: "flex", gap: 6, flexWrap: "wrap" }}>
        <TicketTag ticket={ticket} /> <SegmentTag segment={ticket.segment} />
      </p>
      <div className={styles.row} style={{ marginTop: 4 }}>
        <small>{t("matters.opened")} <When at={ticket.opened} show="both" /></small>
        <Button.Group>
          <Button size="compact-xs" variant="default" onClick={() => setDialog("remark")}>{t("matters.remark")}</Button>
          <Button size="compact-xs" variant="default" onClick={() => setDialog("close")}>{t("matters.close")}</Button>
        </Button.Group>
      </div>
      {dialog && (
        <TextDialog
          title={t(`matters.${dialog}.title`)} label={t(`matters.${dialog}.label`)} submit={t(`matters.${dialog}`)}
          onClose={done} busy={write.isPending} error={write.error}
          onSubmit={(text) => write.mutate({ ticket: ticket.id, text }, { onSuccess: done })}
        />
      )}
    </div>
  );
}
