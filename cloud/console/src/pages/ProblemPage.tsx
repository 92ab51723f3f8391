import { useDocumentTitle } from "@mantine/hooks";
import { Link, useParams } from "react-router";
import { useProblem } from "../api/queries";
import type { ProblemView } from "../api/types";
import shell from "../components/shell.module.css";
import { Empty, Failure, Lines } from "../components/States";
import { Tag } from "../components/Status";
import { When } from "../components/When";
import { DailyBars } from "../desk/DailyBars";
import { TicketTable } from "../desk/TicketTable";
import styles from "../desk/desk.module.css";
import { useI18n, type Key } from "../i18n";
import { headline } from "../i18n/fill";

/** One batch fault: which devices, how we know, whom it touches, and what was done for them. */
export function ProblemPage() {
  const { t, lang } = useI18n();
  const { problem: id = "" } = useParams();
  const query = useProblem(id);
  useDocumentTitle(`${query.data ? headline(query.data.cohort_text, lang) : t("nav.problems")} · Hearthline`);
  if (query.isError && !query.data) return <Failure error={query.error} retry={() => void query.refetch()} />;
  if (!query.data) return <div className={shell.page}><Lines n={6} height={80} /></div>;
  return <Problem problem={query.data} />;
}

const factors = ["model", "firmware", "hardware", "region", "isp"] as const;

function Problem({ problem }: { problem: ProblemView }) {
  const { t, lookup, lang } = useI18n();
  const { evidence } = problem;
  const told = problem.homes.filter((home) => home.told).length;
  const fact = (key: Key, value: string | number, of?: string) => (
    <div className={styles.fact}>
      <dt>{t(key)}</dt>
      <dd>{typeof value === "number" ? value.toLocaleString(lang, { maximumFractionDigits: 1 }) : value} {of && <small>{of}</small>}</dd>
    </div>
  );
  return (
    <div className={shell.page}>
      <Link to="/problems" style={{ fontSize: 14 }}>← {t("nav.problems")}</Link>
      <h1 style={{ margin: "10px 0 0" }}>
        {t("problem.title", { cohort: headline(problem.cohort_text, lang) })} <Tag tone={problem.state === "open" ? "bad" : "good"}>{lookup(`problem.${problem.state}`) ?? problem.state}</Tag>
      </h1>
      <ul className={styles.cohort} aria-label={t("problems.cohort")}>
        {factors.map((factor) => problem.cohort[factor] && <li key={factor}><span>{t(`cohort.${factor}`)}</span> <b>{problem.cohort[factor]}</b></li>)}
        <li><span>{t("problem.opened")}</span> <When at={problem.opened} show="both" /></li>
        {problem.closed && <li><span>{t("problem.closedat")}</span> <When at={problem.closed} show="both" /></li>}
      </ul>
      <dl className={styles.facts}>
        {fact("problem.observed", evidence.observed, t("problem.expected", { n: evidence.expected.toLocaleString(lang, { maximumFractionDigits: 1 }) }))}
        {fact("problem.times", evidence.expected > 0 ? `${(evidence.observed / evidence.expected).toLocaleString(lang, { maximumFractionDigits: 1 })}×` : "–")}
        {fact("problem.devices", evidence.devices)}
        {fact("problem.homes", problem.homes_affected, t("problem.told", { n: told }))}
        {fact("problem.tickets", problem.tickets_linked)}
      </dl>
      <section className={styles.card}>
        <h2 style={{ margin: "0 0 4px" }}>{t("problem.evidence")}</h2>
        <p style={{ margin: "0 0 12px", fontSize: 13, color: "var(--ink-2)" }}>
          {t("problem.window")} <When at={evidence.window_from} show="clock" day /> – <When at={evidence.window_to} show="clock" day />
        </p>
        <DailyBars daily={evidence.daily} />
      </section>
      <section style={{ marginTop: 24 }}>
        <h2>{t("problem.homes")}</h2>
        {problem.homes.length === 0 ? <Empty compact title={t("problem.nohomes")} /> : <Homes problem={problem} />}
      </section>
      {problem.tickets.length > 0 && (
        <section style={{ marginTop: 24 }}>
          <h2>{t("problem.tickets")}</h2>
          <TicketTable tickets={problem.tickets} />
        </section>
      )}
    </div>
  );
}

function Homes({ problem }: { problem: ProblemView }) {
  const { t } = useI18n();
  return (
    <table className={styles.table}>
      <thead>
        <tr>
          <th scope="col"><span>{t("tickets.who")}</span></th>
          <th scope="col"><span>{t("problem.device")}</span></th>
          <th scope="col"><span>{t("problem.told.when")}</span></th>
          <th scope="col"><span>{t("problem.ticket")}</span></th>
        </tr>
      </thead>
      <tbody>
        {problem.homes.map((home) => (
          <tr key={`${home.home}-${home.device}`}>
            <td>{home.customer_id ? <Link to={`/customers/${home.customer_id}`}>{home.customer_name || home.customer_id}</Link> : "–"}</td>
            <td>{home.device_name || home.device}</td>
            <td className={styles.nowrap}>{home.told ? <When at={home.told} show="both" /> : "–"}</td>
            <td>{home.ticket ? t("problem.linked") : "–"}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
