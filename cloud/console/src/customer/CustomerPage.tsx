import { Tabs } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import { useState } from "react";
import { useParams, useSearchParams } from "react-router";
import { useLive } from "../api/live";
import { useCustomer } from "../api/queries";
import type { CustomerView, HomeView } from "../api/types";
import { SessionPanel } from "../assist/SessionPanel";
import { Empty, Failure, Lines } from "../components/States";
import { Tag } from "../components/Status";
import { useI18n } from "../i18n";
import { Timeline } from "../timeline/Timeline";
import { Actions } from "./Actions";
import { Devices } from "./Devices";
import { Matters } from "./Matters";
import { StoryCard } from "./StoryCard";
import { Who } from "./Who";
import styles from "./customer.module.css";

/** Everything about a customer on one screen: who, what, since when, why, and what was tried. */
export function CustomerPage() {
  const { t } = useI18n();
  const { customer: id = "" } = useParams();
  const query = useCustomer(id);
  useDocumentTitle(`${query.data?.customer.name ?? t("nav.customer")} · Hearthline`);
  const [params, setParams] = useSearchParams();
  if (query.isError && !query.data) return <Failure error={query.error} retry={() => void query.refetch()} />;
  if (!query.data) return <div className={styles.page}><Lines n={3} height={92} /></div>;
  const homes = query.data.homes;
  // Without a choice, the home that something is open in: it is what the call is about.
  const open = (h: HomeView) => query.data.tickets.filter((ticket) => ticket.home === h.home.id && ticket.state !== "solved").length;
  const present = homes.filter((h) => !h.end);
  const home = homes.find((h) => h.home.id === params.get("home")) ?? present.find((h) => open(h) > 0) ?? present[0] ?? homes[0];
  if (!home) {
    return (
      <div className={styles.page}>
        <Who view={query.data} />
        <Empty title={t("customer.nohome")} />
      </div>
    );
  }
  const tabs = homes.length > 1 && (
    <Tabs value={home.home.id} onChange={(value) => value && setParams({ home: value }, { replace: true })} variant="pills">
      <Tabs.List mt={4}>
        {homes.map((h) => (
          <Tabs.Tab key={h.home.id} value={h.home.id} size="xs" className={styles.tab}>
            {h.home.name} {h.end && `(${t("customer.former")})`} {open(h) > 0 && <Tag tone="warn">{t("find.open", { n: open(h) })}</Tag>}
          </Tabs.Tab>
        ))}
      </Tabs.List>
    </Tabs>
  );
  return <OneHome key={home.home.id} view={query.data} home={home} tabs={tabs} />;
}

function OneHome({ view, home, tabs }: { view: CustomerView; home: HomeView; tabs: React.ReactNode }) {
  const { t } = useI18n();
  const id = home.home.id;
  useLive(`/v1/homes/${encodeURIComponent(id)}/events`, ["customer", "entries", "session"]);
  const running = view.sessions.find((s) => s.home === id && s.state !== "closed");
  const [kept, keep] = useState<string>(); // a session that ended stays in view until it is dismissed
  const session = running?.id ?? kept;
  const tickets = view.tickets.filter((ticket) => ticket.home === id);
  const ticket = tickets.find((each) => each.state !== "solved");
  return (
    <div className={styles.page}>
      <Who view={view} home={home} tabs={tabs}>
        <Actions view={view} home={home} ticket={ticket} session={running} onAsked={keep} />
      </Who>
      <StoryCard home={id} ticket={ticket} problems={view.problems} outage={home.outage} />
      <div className={styles.columns} data-session={session !== undefined}>
        <section className={styles.column} aria-label={t("devices.title")}>
          <h2>{t("devices.title")}</h2>
          <div className={styles.scroll}>
            <Devices home={home} />
          </div>
        </section>
        <section className={styles.column} aria-label={t("timeline.title")}>
          <h2>{t("timeline.title")}</h2>
          <div className={styles.scroll}>
            <Timeline home={id} />
          </div>
        </section>
        <section className={styles.column} aria-label={session ? t("session.title") : t("matters.title")}>
          {session ? (
            <SessionPanel key={session} id={session} onEnded={() => keep(session)} onDismiss={() => keep(undefined)} />
          ) : (
            <>
              <h2>{t("matters.title")}</h2>
              <div className={styles.scroll}>
                <Matters view={view} home={id} outage={home.outage} tickets={tickets} />
              </div>
            </>
          )}
        </section>
      </div>
    </div>
  );
}
