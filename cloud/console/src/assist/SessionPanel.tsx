import { Button, CloseButton, Loader } from "@mantine/core";
import { useEffect, useRef } from "react";
import { useCloseSession } from "../api/mutations";
import { useMe, useSession } from "../api/queries";
import type { SessionView } from "../api/types";
import { Chart } from "../components/Chart";
import { Failure, Lines } from "../components/States";
import { Tag } from "../components/Status";
import { When } from "../components/When";
import { useI18n, type Key } from "../i18n";
import { Steps } from "../timeline/DiagnosisView";
import { Path } from "../timeline/Path";
import { useWords } from "../timeline/words";
import type { PeerState } from "./peer";
import type { Live, Run } from "./record";
import { useSessionPeer } from "./useSessionPeer";
import styles from "./assist.module.css";

interface Props {
  id: string;
  onEnded: () => void;
  onDismiss: () => void;
}

type Stage = "asked" | "starting" | "connecting" | "open" | "lost" | "closed";

/** A remote session from the question to the customer until it is closed. */
export function SessionPanel({ id, onEnded, onDismiss }: Props) {
  const { t, lookup } = useI18n();
  const me = useMe();
  const query = useSession(id);
  const session = query.data;
  const { state, seen, route, diagnose } = useSessionPeer(session, session !== undefined && session.staff === me.data?.staff.id);
  const close = useCloseSession();
  const stage = stageOf(session, state, seen.bye);
  const ended = useRef(onEnded);
  ended.current = onEnded;
  useEffect(() => {
    ended.current(); // keeps the panel in view when the session leaves the list of running ones
  }, [id]);
  useConnectionCheck(state === "open" && (session?.allow.includes("diagnose") ?? false), diagnose);

  if (query.isError && !session) return <Failure error={query.error} retry={() => void query.refetch()} />;
  if (!session) return <div className={styles.body}><Lines n={4} /></div>;
  const reason = session.reason ?? seen.bye;
  return (
    <>
      <div className={styles.top} data-session={id} data-stage={stage}>
        <div className={styles.title}>
          <h2>{t("session.title")}</h2>
          {stage === "closed" ? (
            <CloseButton aria-label={t("session.dismiss")} onClick={onDismiss} />
          ) : (
            <Button data-action="end" size="compact-sm" color="red" variant="light" loading={close.isPending} onClick={() => close.mutate(id)}>
              {stage === "asked" ? t("session.cancel") : t("session.end")}
            </Button>
          )}
        </div>
        <p className={styles.state} role="status">
          {stage === "closed" ? (
            <>{t("session.closed")}{reason && `: ${lookup(`ending.${reason}`) ?? reason}`}</>
          ) : (
            <>
              {t(`session.${stage}`)}{" "}
              {stage === "asked" && <When at={session.asked} />}
              {stage === "open" && route && (
                <>
                  · {t(route.relayed ? "session.relayed" : "session.direct")}
                  {route.rttMS !== undefined && <span className="num"> · {Math.round(route.rttMS)} ms</span>}
                </>
              )}
            </>
          )}
        </p>
        <Stages stage={stage} />
      </div>
      <div className={styles.body}>
        {(state === "open" || seen.runs.length > 0) && session.allow.includes("diagnose") && (
          <Diagnoses disabled={stage !== "open" || busy(seen.runs[0])} diagnose={diagnose} />
        )}
        {seen.metrics.size > 0 && <LiveCharts metrics={seen.metrics} />}
        {seen.runs.map((run) => <RunCard key={run.id} run={run} over={stage === "closed"} />)}
      </div>
    </>
  );
}

function stageOf(session: SessionView | undefined, peer: PeerState | "waiting", bye: string | undefined): Stage {
  if (!session || session.state === "waiting") return session?.consent?.state === "given" ? "starting" : "asked";
  if (session.state === "closed" || bye !== undefined) return "closed";
  if (peer === "open" || peer === "lost") return peer;
  if (peer === "waiting" && session.state === "open") return "open"; // somebody else looks
  return peer === "closed" ? "lost" : "connecting";
}

const busy = (run: Run | undefined) => run !== undefined && !run.result && run.failed === undefined;

/** The first thing everybody wants to know is asked as soon as there is somebody to ask. */
function useConnectionCheck(open: boolean, diagnose: (kind: string) => void) {
  const asked = useRef(false);
  useEffect(() => {
    if (!open || asked.current) return;
    asked.current = true;
    diagnose("connection");
  }, [open, diagnose]);
}

const stages: [Stage[], Key][] = [
  [["asked"], "session.stage.consent"],
  [["starting", "connecting"], "session.stage.connect"],
  [["open", "lost"], "session.stage.open"],
];

function Stages({ stage }: { stage: Stage }) {
  const { t } = useI18n();
  const at = stages.findIndex(([names]) => names.includes(stage));
  if (stage === "closed") return null;
  return (
    <ol className={styles.stages}>
      {stages.map(([, key], i) => (
        <li key={key} data-done={i < at || stage === "open"} aria-current={i === at ? "step" : undefined}>{t(key)}</li>
      ))}
    </ol>
  );
}

function Diagnoses({ disabled, diagnose }: { disabled: boolean; diagnose: (kind: string) => void }) {
  const { t } = useI18n();
  return (
    <>
      <h3>{t("session.diagnose")}</h3>
      <div className={styles.kinds}>
        {(["connection", "ping", "dns", "dhcp", "traceroute", "interface", "wifi", "speed"] as const).map((kind) => (
          <Button key={kind} size="compact-xs" variant="default" disabled={disabled} onClick={() => diagnose(kind)}>
            {t(`kind.${kind}`)}
          </Button>
        ))}
      </div>
    </>
  );
}

const watched = ["wan.loss_ratio", "wan.rtt_ms", "dns.latency_ms", "gateway.rtt_ms", "wifi.rssi_dbm", "cpu.busy_ratio"];

function LiveCharts({ metrics }: { metrics: ReadonlyMap<string, Live> }) {
  const { t } = useI18n();
  const words = useWords();
  const all = [...metrics.values()];
  const shown = watched.flatMap((name) => all.filter((live) => live.metric === name)).slice(0, 4);
  return (
    <>
      <h3>{t("session.live")}</h3>
      <div className={styles.metrics} data-samples={Math.max(...all.map((live) => live.at.length))}>
        {(shown.length > 0 ? shown : all.slice(0, 4)).map((live) => (
          <Chart key={`${live.metric}{${live.instance}}`} series={live} label={words.metric(live.metric, live.instance)} height={34} />
        ))}
      </div>
    </>
  );
}

function RunCard({ run, over }: { run: Run; over: boolean }) {
  const { t } = useI18n();
  const words = useWords();
  return (
    <article className={styles.run} data-run={run.kind} data-done={run.result !== undefined}>
      <div className={styles.runHead}>
        {words.diagnosis(run.kind)}
        {run.failed !== undefined ? <Tag tone="bad">{run.failed}</Tag> : run.result ? <Tag tone={run.result.verdict.segment === "none" ? "good" : "bad"}>{t(run.result.verdict.segment === "none" ? "diagnosis.well" : "diagnosis.found")}</Tag> : over ? <Tag>{t("diagnosis.cut")}</Tag> : <Loader size={14} />}
      </div>
      {run.result && (
        <>
          <p className={styles.verdict} data-verdict={run.result.verdict.segment}>{words.verdict(run.result.verdict)}</p>
          <Path segment={run.result.verdict.segment} />
          <h4>{t("diagnosis.steps")}</h4>
        </>
      )}
      <Steps steps={run.steps} />
    </article>
  );
}
