import { SegmentedControl } from "@mantine/core";
import { useState } from "react";
import { useTelemetry } from "../api/queries";
import type { DeviceView, HomeView } from "../api/types";
import { Chart } from "../components/Chart";
import { Empty } from "../components/States";
import { Dot, Score } from "../components/Status";
import { Said, When } from "../components/When";
import { useI18n } from "../i18n";
import { useNow } from "../time";
import { useWords } from "../timeline/words";
import styles from "./customer.module.css";

const spans = { "900": "devices.span.quarter", "21600": "devices.span.sixhours", "604800": "devices.span.week" } as const;

/** The devices of a home with their health, why it is so, and the signals that matter most. */
export function Devices({ home }: { home: HomeView }) {
  const { t } = useI18n();
  const [open, setOpen] = useState(home.devices[0]?.id);
  const [seconds, setSeconds] = useState<keyof typeof spans>("900");
  if (home.devices.length === 0) return <Empty compact title={t("devices.none")} />;
  return (
    <>
      {home.devices.map((device) => (
        <article key={device.id} className={styles.device}>
          <button type="button" className={styles.head} aria-expanded={open === device.id} onClick={() => setOpen(open === device.id ? undefined : device.id)}>
            <Score value={device.health?.score} />
            <span>
              <strong>{device.name}</strong>
              <small>
                <Dot tone={device.online ? "good" : "bad"} />
                {device.since ? <>{t(device.online ? "devices.online" : "devices.offline")} <When at={device.since} show="clock" /></> : t("devices.never")}
              </small>
            </span>
          </button>
          {open === device.id && (
            <>
              <Reasons device={device} />
              <SegmentedControl
                size="xs" fullWidth mt={12} value={seconds} aria-label={t("devices.span")}
                onChange={(value) => setSeconds(value as keyof typeof spans)}
                data={Object.entries(spans).map(([value, key]) => ({ value, label: t(key) }))}
              />
              <Signals device={device} seconds={Number(seconds)} />
              <dl className={styles.spec}>
                <dt>{t("devices.model")}</dt><dd>{[device.model, device.hardware].filter(Boolean).join(" · ")}</dd>
                <dt>{t("devices.firmware")}</dt><dd>{device.firmware}</dd>
                <dt>{t("devices.seen")}</dt><dd>{device.seen ? <When at={device.seen} show="both" /> : "–"}</dd>
                <dt>{t("devices.id")}</dt><dd>{device.id}</dd>
              </dl>
            </>
          )}
        </article>
      ))}
    </>
  );
}

function Reasons({ device }: { device: DeviceView }) {
  const { t } = useI18n();
  const health = device.health;
  if (!health) return <p className={styles.reasons}>{t("health.unknown.more")}</p>;
  if (health.reasons.length === 0) return null;
  return (
    <ul className={styles.reasons} aria-label={t("health.reasons")}>
      {health.reasons.slice(0, 3).map((reason, i) => (
        <li key={i}>
          <Said text={reason.text} />
        </li>
      ))}
    </ul>
  );
}

// The signals that tell most about a connection, best first; a device shows the first four that it has.
const ranked = [
  "wan.loss_ratio", "dns.latency_ms", "wan.rtt_ms", "gateway.loss_ratio", "wifi.rssi_dbm", "gateway.rtt_ms", "cloud.rtt_ms",
  "battery.percent", "link.pdr_ratio", "rssi_dbm", "temp_celsius", "cpu.busy_ratio",
];

function pick(device: DeviceView) {
  const active = device.readings?.find((r) => r.metric === "dns.active" && r.value > 0)?.instance;
  const known = device.readings ?? [];
  const chosen = ranked.flatMap((metric) => {
    const all = known.filter((r) => r.metric === metric);
    return all.find((r) => metric.startsWith("dns.") && r.instance === active) ?? all.slice(0, 1);
  });
  const rest = known.filter((r) => !ranked.includes(r.metric) && !chosen.includes(r));
  return (chosen.length > 0 ? chosen : rest).slice(0, 4);
}

function Signals({ device, seconds }: { device: DeviceView; seconds: number }) {
  const { t } = useI18n();
  const words = useWords();
  const now = useNow();
  const step = Math.max(10_000, (seconds * 1000) / 240);
  const to = Math.ceil(now / step) * step;
  const range = { from: to - seconds * 1000, to };
  const shown = pick(device);
  const telemetry = useTelemetry(device.id, shown.map((r) => (r.instance ? `${r.metric}{${r.instance}}` : r.metric)), range, 180);
  if (shown.length === 0) return <Empty compact title={t("devices.nosignal")} />;
  return (
    <div className={styles.charts}>
      {shown.map((r) => {
        const series = telemetry.data?.find((s) => s.metric === r.metric && (s.instance || "") === (r.instance ?? ""));
        const fallback = telemetry.data ? { metric: r.metric, at: [], value: [] } : undefined;
        return <Chart key={`${r.metric}{${r.instance}}`} series={series ?? fallback} label={words.metric(r.metric, r.instance)} range={range} />;
      })}
    </div>
  );
}
