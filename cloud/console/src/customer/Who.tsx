import type { ReactNode } from "react";
import type { CustomerView, HomeView } from "../api/types";
import { When } from "../components/When";
import { isLanguage, languages } from "../i18n/languages";
import { useI18n } from "../i18n";
import { absolute, useNow } from "../time";
import styles from "./customer.module.css";

interface Props {
  view: CustomerView;
  home?: HomeView;
  tabs?: ReactNode;
  children?: ReactNode;
}

/** Who is on the phone: name, number, home, provider, and the time where they are. */
export function Who({ view: { customer }, home, tabs, children }: Props) {
  const { t, lang } = useI18n();
  const now = useNow();
  const speaks = isLanguage(customer.language) ? languages[customer.language] : customer.language;
  return (
    <header className={styles.who}>
      <h1 data-customer={customer.id}>{customer.name}</h1>
      <div className={styles.facts}>
        <div>
          {customer.phones.map((phone) => (
            <a key={phone} href={`tel:${phone}`} className="num">{phone}</a>
          ))}
          {customer.emails.slice(0, 1).map((email) => (
            <span key={email}>{email}</span>
          ))}
          {speaks && <span>{t("who.speaks")} <b>{speaks}</b></span>}
        </div>
        {home && (
          <div>
            <span><b>{home.home.name}</b> · {[home.home.region, home.home.isp].filter(Boolean).join(" · ")}</span>
            {home.home.time_zone && <span>{t("who.localtime")} <b className="num">{absolute(now, now, lang, { zone: home.home.time_zone })}</b></span>}
            <span>{t("who.since")} <When at={home.begin} show="date" zone={home.home.time_zone} /></span>
            {home.end && <span>{t("who.until")} <When at={home.end} show="date" zone={home.home.time_zone} /></span>}
          </div>
        )}
        {tabs}
      </div>
      <div className={styles.actions}>{children}</div>
    </header>
  );
}
