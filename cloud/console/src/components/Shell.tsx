import { ActionIcon, Menu, useMantineColorScheme } from "@mantine/core";
import { IconUser } from "@tabler/icons-react";
import { NavLink, Outlet, useMatch } from "react-router";
import { ApiError } from "../api/client";
import { useMe, useSignOut } from "../api/queries";
import { useLive } from "../api/live";
import { languages, useI18n, type Language } from "../i18n";
import { QuickFind } from "../find/QuickFind";
import { SignIn } from "../pages/SignIn";
import { Dot } from "./Status";
import styles from "./shell.module.css";

/** The frame around the pages of support agents. Without a session it shows sign-in in place of a page. */
export function Shell() {
  const { t } = useI18n();
  const me = useMe();
  const home = useMatch("/");
  const live = useLive(me.data ? "/v1/events" : undefined, ["tickets", "problems", "problem"]);
  if (me.isPending) return null;
  if (me.isError) return <SignIn unreachable={!(me.error instanceof ApiError && me.error.status === 401)} retry={() => void me.refetch()} />;
  return (
    <div className={styles.shell}>
      <header className={styles.bar}>
        <a href="#main" className={styles.skip}>{t("nav.skip")}</a>
        <NavLink to="/" className={styles.brand} aria-label="Hearthline">
          <img src="/favicon.svg" alt="" />
          <span>Hearthline</span>
        </NavLink>
        <nav className={styles.nav} aria-label={t("nav.main")}>
          <NavLink to="/" end>{t("nav.find")}</NavLink>
          <NavLink to="/tickets">{t("nav.tickets")}</NavLink>
          <NavLink to="/problems">{t("nav.problems")}</NavLink>
        </nav>
        <span className={styles.grow} />
        {!home && <QuickFind />}
        {!live && (
          <span className={styles.live} role="status">
            <Dot tone="warn" /> {t("live.down")}
          </span>
        )}
        <UserMenu name={me.data.staff.name} />
      </header>
      <main id="main" className={styles.main}>
        <Outlet />
      </main>
    </div>
  );
}

function UserMenu({ name }: { name: string }) {
  const { t, lang, setLang } = useI18n();
  const { colorScheme, setColorScheme } = useMantineColorScheme();
  const signOut = useSignOut();
  return (
    <Menu width={210} position="bottom-end" shadow="md">
      <Menu.Target>
        <ActionIcon variant="default" radius="xl" size={34} aria-label={t("nav.account", { name })}>
          <IconUser size={18} stroke={1.8} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{name}</Menu.Label>
        <Menu.Label>{t("nav.language")}</Menu.Label>
        {(Object.keys(languages) as Language[]).map((each) => (
          <Menu.Item key={each} lang={each} role="menuitemradio" aria-checked={each === lang} fw={each === lang ? 600 : 400} onClick={() => setLang(each)}>
            {languages[each]}
          </Menu.Item>
        ))}
        <Menu.Label>{t("nav.theme")}</Menu.Label>
        {(["light", "dark", "auto"] as const).map((each) => (
          <Menu.Item key={each} role="menuitemradio" aria-checked={each === colorScheme} fw={each === colorScheme ? 600 : 400} onClick={() => setColorScheme(each)}>
            {t(`nav.theme.${each}`)}
          </Menu.Item>
        ))}
        <Menu.Divider />
        <Menu.Item onClick={() => signOut.mutate()}>{t("nav.signout")}</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
