import { Group, UnstyledButton } from "@mantine/core";
import { languages, useI18n, type Language } from "../i18n";

/** The languages side by side, each in its own words: for pages that people see before they sign in. */
export function LanguagePicker() {
  const { lang, setLang, t } = useI18n();
  return (
    <Group gap="md" justify="center" role="group" aria-label={t("nav.language")}>
      {(Object.keys(languages) as Language[]).map((each) => (
        <UnstyledButton key={each} lang={each} fz="sm" aria-pressed={each === lang} c={each === lang ? "var(--ink)" : "var(--ink-2)"} fw={each === lang ? 600 : 400} onClick={() => setLang(each)}>
          {languages[each]}
        </UnstyledButton>
      ))}
    </Group>
  );
}
