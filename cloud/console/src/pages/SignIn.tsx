import { Alert, Button, Paper, PasswordInput, Stack, Text, TextInput, Title } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import { useState } from "react";
import { ApiError } from "../api/client";
import { useSignIn } from "../api/queries";
import { LanguagePicker } from "../components/LanguagePicker";
import { Failure, useFault } from "../components/States";
import { useI18n } from "../i18n";

interface Props {
  unreachable: boolean;
  retry: () => void;
}

export function SignIn({ unreachable, retry }: Props) {
  const { t } = useI18n();
  useDocumentTitle(`${t("signin.title")} · Hearthline`);
  const signIn = useSignIn();
  const fault = useFault();
  const [name, setName] = useState("");
  const [password, setPassword] = useState("");
  const wrong = signIn.error instanceof ApiError && signIn.error.status === 401;
  return (
    <main style={{ minHeight: "100dvh", display: "grid", placeItems: "center", padding: 20 }}>
      <Stack w="100%" maw={360} gap="lg">
        <Stack gap={10} align="center">
          <img src="/favicon.svg" alt="" width={44} height={44} />
          <Title order={1}>Hearthline</Title>
          <Text size="sm" c="var(--ink-2)" ta="center" style={{ textWrap: "balance" }}>{t("signin.what")}</Text>
        </Stack>
        {unreachable ? (
          <Failure error={new ApiError(0, "", "")} retry={retry} />
        ) : (
          <Paper withBorder p="xl" radius="lg" bg="var(--card)">
            <form
              onSubmit={(event) => {
                event.preventDefault();
                signIn.mutate({ name, password });
              }}
            >
              <Stack>
                <TextInput label={t("signin.name")} name="username" autoComplete="username" required withAsterisk={false} autoFocus value={name} onChange={(e) => setName(e.currentTarget.value)} />
                <PasswordInput label={t("signin.password")} name="password" autoComplete="current-password" visibilityToggleButtonProps={{ "aria-label": t("signin.show") }} required withAsterisk={false} value={password} onChange={(e) => setPassword(e.currentTarget.value)} />
                {signIn.isError && (
                  <Alert color="red" variant="light" role="alert" p="xs">
                    {wrong ? t("signin.wrong") : fault(signIn.error)}
                  </Alert>
                )}
                <Button type="submit" loading={signIn.isPending}>{t("signin.submit")}</Button>
              </Stack>
            </form>
          </Paper>
        )}
        <LanguagePicker />
      </Stack>
    </main>
  );
}
