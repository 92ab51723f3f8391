import { Button, Center, Skeleton, Stack, Text } from "@mantine/core";
import type { ReactNode } from "react";
import { ApiError } from "../api/client";
import { useI18n } from "../i18n";

/** Nothing to show, and what that means. */
export function Empty({ title, children, compact }: { title: string; children?: ReactNode; compact?: boolean }) {
  return (
    <Center py={compact ? "md" : 64}>
      <Stack gap={4} align="center" maw={420}>
        <Text fw={compact ? 400 : 600} c={compact ? "var(--ink-2)" : undefined} size={compact ? "sm" : "md"} ta="center">
          {title}
        </Text>
        {children && (
          <Text size="sm" c="var(--ink-2)" ta="center">
            {children}
          </Text>
        )}
      </Stack>
    </Center>
  );
}

/** A request that failed: what happened, in words, and a way to try again. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const { t } = useI18n();
  const status = error instanceof ApiError ? error.status : -1;
  const title = status === 0 ? t("error.unreachable") : status === 404 ? t("error.missing") : status === 403 ? t("error.forbidden") : t("error.other");
  return (
    <Center py="xl" role="alert">
      <Stack gap="xs" align="center" maw={420}>
        <Text fw={600}>{title}</Text>
        {status > 0 && error instanceof Error && (
          <Text size="sm" c="var(--ink-2)" ta="center">
            {error.message}
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
