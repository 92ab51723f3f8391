import { Button, Menu, Select, Text, TextInput } from "@mantine/core";
import { IconChevronDown, IconNote, IconPlugConnected, IconStethoscope, IconTicket } from "@tabler/icons-react";
import { useState } from "react";
import { useAddContact, useAskSession, useDiagnose, useOpenTicket } from "../api/mutations";
import type { CustomerView, DiagnosisRequest, HomeView, Session, Ticket } from "../api/types";
import { useFault } from "../components/States";
import { useI18n } from "../i18n";
import { useWords } from "../timeline/words";
import { TextDialog } from "./TextDialog";

interface Props {
  view: CustomerView;
  home: HomeView;
  ticket?: Ticket;
  session?: Session; // one that is running already
  onAsked: (session: string) => void;
}

// Those that need no target; the others are asked inside a session.
export const kinds: DiagnosisRequest["kind"][] = ["connection", "ping", "dns", "dhcp", "traceroute", "http", "interface", "wifi", "speed"];

/** What a support agent can do, one click each: look into the home, go into it, write things down. */
export function Actions({ view, home, ticket, session, onAsked }: Props) {
  const { t } = useI18n();
  const words = useWords();
  const hub = home.devices.find((d) => d.id === ticket?.device) ?? home.devices[0];
  const diagnose = useDiagnose(hub?.id ?? "");
  const ask = useAskSession(hub?.id ?? "");
  const [dialog, setDialog] = useState<"note" | "ticket">();
  const fault = useFault();
  const failed = diagnose.error ?? ask.error;
  return (
    <>
      {failed && <Text size="xs" c="var(--bad)" role="alert" style={{ alignSelf: "center" }}>{fault(failed)}</Text>}
      <Button variant="default" size="xs" leftSection={<IconNote size={16} />} onClick={() => setDialog("note")}>{t("actions.note")}</Button>
      {!ticket && <Button variant="default" size="xs" leftSection={<IconTicket size={16} />} onClick={() => setDialog("ticket")}>{t("actions.ticket")}</Button>}
      <Button.Group>
        <Button
          variant="default" size="xs" leftSection={<IconStethoscope size={16} />} loading={diagnose.isPending} disabled={!hub?.online}
          onClick={() => diagnose.mutate({ kind: "connection" })}
        >
          {t("actions.diagnose")}
        </Button>
        <Menu position="bottom-end" shadow="md">
          <Menu.Target>
            <Button variant="default" size="xs" px={6} disabled={!hub?.online} aria-label={t("actions.diagnose.other")}><IconChevronDown size={15} /></Button>
          </Menu.Target>
          <Menu.Dropdown>
            {kinds.map((kind) => (
              <Menu.Item key={kind} onClick={() => diagnose.mutate({ kind })}>{words.diagnosis(kind)}</Menu.Item>
            ))}
          </Menu.Dropdown>
        </Menu>
      </Button.Group>
      <Button
        data-action="session" size="xs" leftSection={<IconPlugConnected size={16} />} loading={ask.isPending} disabled={!hub?.online || session !== undefined}
        onClick={() => ask.mutate({ ticket: ticket?.id, allow: ["diagnose", "metrics"] }, { onSuccess: (made) => onAsked(made.id) })}
      >
        {t("actions.session")}
      </Button>
      {dialog === "note" && <NoteDialog view={view} home={home} onClose={() => setDialog(undefined)} />}
      {dialog === "ticket" && <TicketDialog home={home} device={hub?.id} onClose={() => setDialog(undefined)} />}
    </>
  );
}

/** Writes down a call: what was said, and what we promised. */
function NoteDialog({ view, home, onClose }: { view: CustomerView; home: HomeView; onClose: () => void }) {
  const { t } = useI18n();
  const add = useAddContact();
  const [promise, setPromise] = useState("");
  const [hours, setHours] = useState("4");
  const from = view.customer.phones[0] ?? view.customer.emails[0] ?? "";
  return (
    <TextDialog
      title={t("note.title")} label={t("note.said")} submit={t("note.save")} busy={add.isPending} error={add.error} onClose={onClose}
      onSubmit={(text) =>
        add.mutate(
          {
            channel: "phone", from, home: home.home.id, text,
            promise: promise.trim() ? { text: promise.trim(), due: new Date(Date.now() + Number(hours) * 3_600_000).toISOString() } : undefined,
          },
          { onSuccess: onClose },
        )
      }
    >
      <TextInput label={t("note.promise")} placeholder={t("note.promise.example")} value={promise} maxLength={500} onChange={(e) => setPromise(e.currentTarget.value)} />
      <Select
        label={t("note.due")} allowDeselect={false} value={hours} onChange={(value) => setHours(value ?? "4")} disabled={!promise.trim()}
        data={["1", "4", "24", "72"].map((value) => ({ value, label: t("note.hours", { n: Number(value) }) }))}
      />
    </TextDialog>
  );
}

function TicketDialog({ home, device, onClose }: { home: HomeView; device?: string; onClose: () => void }) {
  const { t } = useI18n();
  const open = useOpenTicket();
  return (
    <TextDialog
      title={t("actions.ticket")} label={t("ticket.title")} submit={t("actions.ticket")} busy={open.isPending} error={open.error} onClose={onClose}
      onSubmit={(title) => open.mutate({ home: home.home.id, device, title: title.slice(0, 200) }, { onSuccess: onClose })}
    />
  );
}
