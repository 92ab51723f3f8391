import { Alert, Button, Group, Modal, Stack, Textarea } from "@mantine/core";
import { useState, type ReactNode } from "react";
import { useFault } from "../components/States";
import { useI18n } from "../i18n";

interface Props {
  title: string;
  label: string;
  submit: string;
  busy: boolean;
  error: Error | null;
  children?: ReactNode; // more fields
  onClose: () => void;
  onSubmit: (text: string) => void;
}

/** A small dialog around one text that is required. */
export function TextDialog({ title, label, submit, busy, error, children, onClose, onSubmit }: Props) {
  const { t } = useI18n();
  const fault = useFault();
  const [text, setText] = useState("");
  return (
    <Modal opened onClose={onClose} title={title} centered closeButtonProps={{ "aria-label": t("dialog.cancel") }}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          onSubmit(text.trim());
        }}
      >
        <Stack>
          <Textarea data-autofocus autosize minRows={3} maxRows={8} maxLength={2000} required label={label} value={text} onChange={(e) => setText(e.currentTarget.value)} />
          {children}
          {error && <Alert color="red" variant="light" role="alert" p="xs">{fault(error)}</Alert>}
          <Group justify="flex-end">
            <Button variant="default" onClick={onClose}>{t("dialog.cancel")}</Button>
            <Button type="submit" loading={busy} disabled={text.trim() === ""}>{submit}</Button>
          </Group>
        </Stack>
      </form>
    </Modal>
  );
}
