import { TextInput } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import { IconSearch } from "@tabler/icons-react";
import { Link } from "react-router";
import { useTickets } from "../api/queries";
import { Empty, Failure, Lines } from "../components/States";
import { TicketTable } from "../desk/TicketTable";
import { Matches } from "../find/Matches";
import { useFinder } from "../find/useFinder";
import styles from "../find/find.module.css";
import { useI18n } from "../i18n";

/** The first page: find who is calling, and below it what is open. */
export function FindPage() {
  const { t } = useI18n();
  useDocumentTitle(`${t("find.title")} · Hearthline`);
  const finder = useFinder();
  const tickets = useTickets(["open", "waiting"]);
  return (
    <div className={styles.hero}>
      <h1>{t("find.title")}</h1>
      <search>
        <TextInput
          size="lg"
          radius="lg"
          autoFocus
          aria-label={t("find.title")}
          aria-describedby="find-hint"
          placeholder={t("find.placeholder")}
          value={finder.text}
          onChange={(e) => finder.change(e.currentTarget.value)}
          onKeyDown={finder.onKeyDown}
          leftSection={<IconSearch size={20} />}
        />
        <p className={styles.hint} id="find-hint">{t("find.hint")} <span>{t("find.keys")}</span></p>
        {finder.find.isError && <Failure error={finder.find.error} retry={() => void finder.find.refetch()} />}
        {finder.items.length > 0 && <Matches items={finder.items} q={finder.q} active={finder.active} id="results" />}
        {finder.nobody && <Empty title={t("find.nobody", { q: finder.q })}>{t("find.nobody.more")}</Empty>}
      </search>
      {finder.items.length === 0 && !finder.nobody && (
        <section className={styles.section}>
          <h2>
            {t("find.recent")} <Link to="/tickets">{t("find.all")}</Link>
          </h2>
          {tickets.isError ? (
            <Failure error={tickets.error} retry={() => void tickets.refetch()} />
          ) : !tickets.data ? (
            <Lines n={4} />
          ) : tickets.data.length === 0 ? (
            <Empty title={t("tickets.none")}>{t("tickets.none.more")}</Empty>
          ) : (
            <TicketTable tickets={tickets.data.slice(0, 8)} compact />
          )}
        </section>
      )}
    </div>
  );
}
