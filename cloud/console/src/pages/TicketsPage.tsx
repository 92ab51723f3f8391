import { Group, SegmentedControl, Title } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import { useState } from "react";
import { useTickets, type TicketState } from "../api/queries";
import shell from "../components/shell.module.css";
import { Empty, Failure, Lines } from "../components/States";
import { TicketTable } from "../desk/TicketTable";
import { useI18n } from "../i18n";

export function TicketsPage() {
  const { t } = useI18n();
  useDocumentTitle(`${t("nav.tickets")} · Hearthline`);
  const [states, setStates] = useState("open waiting");
  const tickets = useTickets(states.split(" ") as TicketState[]);
  return (
    <div className={shell.page}>
      <Group justify="space-between" mb="md">
        <Title order={1}>{t("nav.tickets")}</Title>
        <SegmentedControl
          size="xs"
          value={states}
          onChange={setStates}
          aria-label={t("tickets.state")}
          data={[
            { value: "open waiting", label: t("tickets.unsolved") },
            { value: "open", label: t("ticket.open") },
            { value: "waiting", label: t("ticket.waiting") },
            { value: "solved", label: t("ticket.solved") },
          ]}
        />
      </Group>
      {tickets.isError ? (
        <Failure error={tickets.error} retry={() => void tickets.refetch()} />
      ) : !tickets.data ? (
        <Lines n={8} />
      ) : tickets.data.length === 0 ? (
        <Empty title={t("tickets.none")}>{t("tickets.none.more")}</Empty>
      ) : (
        <TicketTable tickets={tickets.data} />
      )}
    </div>
  );
}
