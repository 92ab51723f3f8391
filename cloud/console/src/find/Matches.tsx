import { Link } from "react-router";
import type { Match } from "../api/types";
import { Tag } from "../components/Status";
import { useI18n } from "../i18n";
import styles from "./find.module.css";

/** The customers that were found, the best first. `active` is the one that Enter opens. */
export function Matches({ items, q, active, id }: { items: Match[]; q: string; active: number; id: string }) {
  const { t } = useI18n();
  return (
    <ul className={styles.results} id={id} aria-label={t("find.results")}>
      {items.map((match, i) => (
        <li key={`${match.customer.id}-${match.home}`}>
          <Link to={`/customers/${match.customer.id}`} className={styles.match} data-active={i === active}>
            <span>
              <strong><Marked text={match.customer.name} q={q} /></strong>
              <small className="num"><Marked text={match.customer.phones[0] ?? match.customer.emails[0] ?? ""} q={q} /></small>
            </span>
            <span>
              {match.homes.map((home) => home.name).join(", ")}
              <small><Marked text={match.devices.map((d) => `${d.name} (${d.model})`).join(", ")} q={q} /></small>
            </span>
            {match.open_tickets > 0 ? <Tag tone="warn">{t("find.open", { n: match.open_tickets })}</Tag> : <span />}
          </Link>
        </li>
      ))}
    </ul>
  );
}

function Marked({ text, q }: { text: string; q: string }) {
  const at = text.toLowerCase().indexOf(q.toLowerCase());
  if (at < 0 || q === "") return text;
  return (
    <>
      {text.slice(0, at)}
      <mark>{text.slice(at, at + q.length)}</mark>
      {text.slice(at + q.length)}
    </>
  );
}
