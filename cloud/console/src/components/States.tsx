import { Button, Center, Skeleton, Stack, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { ApiError } from "../api/client";
import { useI18n, type Key } from "../i18n";
import { headline } from "../i18n/fill";

/** Nothing to show, and what that means. */
export function Empty({ title, children, compact }: { title: string; children?: ReactNode; compact?: boolean }) {
  return (
    <Center py={compact ? "md" : 64}>
      <Stack gap={4} align="center" maw={420}>
        <Text fw={compact ? 400 : 600} c={compact ? "var(--ink-2)" : undefined} size={compact ? "sm" : "md"} ta="center">
          {title}
        </Text>
        {children && (
          <Text size="sm" c="var(--ink-2)" ta="center" style={{ textWrap: "balance" }}>
            {children}
          </Text>
        )}
      </Stack>
    </Center>
  );
}

const known: Record<number, Key> = { 0: "error.unreachable", 403: "error.forbidden", 404: "error.missing" };

/** What went wrong, in words. The service explains a refusal in English only; others read what kind it is. */
export function useFault() {
  const { t, lang } = useI18n();
  return (error: Error) => {
    const status = error instanceof ApiError ? error.status : 500;
    if (known[status]) return t(known[status]);
    if (status >= 500) return t("error.other");
    return lang === "en" ? headline(error.message, lang) : t(status === 409 ? "error.conflict" : "error.other");
  };
}

/** A request that failed: what happened, in words, and a way to try again. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const { t } = useI18n();
  const fault = useFault();
  const status = error instanceof ApiError ? error.status : -1;
  const title = t(known[status] ?? "error.other");
  const detail = error instanceof Error && fault(error);
  return (
    <Center py="xl" role="alert">
      <Stack gap="xs" align="center" maw={420}>
        <Text fw={600}>{title}</Text>
        {detail && detail !== title && (
          <Text size="sm" c="var(--ink-2)" ta="center">
            {detail}
          </Text>
        )}
        {retry && status !== 404 && (
          <Button variant="default" size="xs" onClick={retry}>
            {t("error.retry")}
          </Button>
        )}
      </Stack>
    </Center>
  );
}

/** A quiet stand-in of about the height of what will come, so that nothing jumps. */
export function Lines({ n, height = 44 }: { n: number; height?: number }) {
  return (
    <Stack gap={10} aria-busy="true">
      {Array.from({ length: n }, (_, i) => (
        <Skeleton key={i} height={height} radius="md" />
      ))}
    </Stack>
  );
}
