import { Title } from "@mantine/core";
import { useDocumentTitle } from "@mantine/hooks";
import { Link } from "react-router";
import { useOutages, useProblems } from "../api/queries";
import shell from "../components/shell.module.css";
import { Empty, Failure, Lines } from "../components/States";
import { Tag } from "../components/Status";
import { When } from "../components/When";
import styles from "../desk/desk.module.css";
import { useI18n } from "../i18n";
import { headline } from "../i18n/fill";

/** Batch faults, open ones first: one line per problem, never per device. */
export function ProblemsPage() {
  const { t, lookup, lang } = useI18n();
  useDocumentTitle(`${t("nav.problems")} · Hearthline`);
  const problems = useProblems();
  const items = problems.data?.toSorted((a, b) => Number(b.state === "open") - Number(a.state === "open") || Date.parse(b.opened) - Date.parse(a.opened));
  return (
    <div className={shell.page}>
      <Title order={1} mb="md">{t("nav.problems")}</Title>
      {problems.isError ? (
        <Failure error={problems.error} retry={() => void problems.refetch()} />
      ) : !items ? (
        <Lines n={4} />
      ) : items.length === 0 ? (
        <Empty title={t("problems.none")}>{t("problems.none.more")}</Empty>
      ) : (
        <table className={styles.table}>
          <thead>
            <tr>
              <th scope="col"><span>{t("problems.cohort")}</span></th>
              <th scope="col"><span>{t("tickets.state")}</span></th>
              <th scope="col" className={styles.number}><span>{t("problems.homes")}</span></th>
              <th scope="col" className={`${styles.number} ${styles.hide}`}><span>{t("problems.tickets")}</span></th>
              <th scope="col" className={styles.hide}><span>{t("tickets.since")}</span></th>
            </tr>
          </thead>
          <tbody>
            {items.map((problem) => (
              <tr key={problem.id}>
                <td><Link to={`/problems/${problem.id}`}>{headline(problem.cohort_text, lang)}</Link></td>
                <td><Tag tone={problem.state === "open" ? "bad" : "good"}>{lookup(`problem.${problem.state}`) ?? problem.state}</Tag></td>
                <td className={styles.number}>{problem.homes_affected}</td>
                <td className={`${styles.number} ${styles.hide}`}>{problem.tickets_linked}</td>
                <td className={`${styles.nowrap} ${styles.hide}`}><When at={problem.opened} show="both" /></td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <Outages />
    </div>
  );
}

/** What made many homes vanish at once: a provider, a region, or we ourselves. */
function Outages() {
  const { t, lang } = useI18n();
  const outages = useOutages();
  if (!outages.data || outages.data.length === 0) return null;
  return (
    <section style={{ marginTop: 32 }}>
      <Title order={2} mb="sm">{t("outages.title")}</Title>
      <table className={styles.table}>
        <thead>
          <tr>
            <th scope="col"><span>{t("outages.blamed")}</span></th>
            <th scope="col"><span>{t("outages.where")}</span></th>
            <th scope="col"><span>{t("tickets.state")}</span></th>
            <th scope="col" className={styles.number}><span>{t("outages.homes")}</span></th>
            <th scope="col" className={styles.hide}><span>{t("outages.from")}</span></th>
            <th scope="col" className={styles.hide}><span>{t("outages.to")}</span></th>
          </tr>
        </thead>
        <tbody>
          {outages.data.map((outage) => (
            <tr key={outage.id} data-outage={outage.id}>
              <td>{headline(outage.segment_text, lang)}</td>
              <td>{outage.place_text ? headline(outage.place_text, lang) : t("outages.everywhere")}</td>
              <td><Tag tone={outage.state === "open" ? "bad" : "good"}>{t(`outage.${outage.state}`)}</Tag></td>
              <td className={styles.number}>{outage.homes}</td>
              <td className={`${styles.nowrap} ${styles.hide}`}><When at={outage.from} show="both" /></td>
              <td className={`${styles.nowrap} ${styles.hide}`}>{outage.to ? <When at={outage.to} show="both" /> : "–"}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
