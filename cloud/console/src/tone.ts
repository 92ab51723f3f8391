// Which colour a fact may have. Plain is the rule; the others are for facts that ask for a look.

export type Tone = "plain" | "good" | "warn" | "bad" | "accent";

export const healthTone = (score: number | undefined): Tone =>
  score === undefined ? "plain" : score >= 80 ? "good" : score >= 50 ? "warn" : "bad";

const kinds: Record<string, Tone> = {
  "risk.raised": "warn",
  "risk.cleared": "good",
  "symptom.seen": "warn",
  "symptom.cleared": "good",
  "device.offline": "bad",
  "device.online": "good",
  "fix.verified": "good",
  "fix.rolled_back": "warn",
  "fix.failed": "bad",
  "fix.unavailable": "warn",
  "command.refused": "bad",
  "command.expired": "bad",
  "record.set_aside": "bad",
  "outbox.set_aside": "bad",
  "telemetry.gap": "warn",
  "ticket.opened": "warn",
  "ticket.closed": "good",
  "problem.linked": "warn",
  "problem.closed": "good",
  "incident.linked": "warn",
  "incident.closed": "good",
  "session.opened": "accent",
  "session.action": "accent",
  "contact.received": "accent",
  "promise.made": "accent",
};

export const entryTone = (kind: string): Tone => kinds[kind] ?? "plain";
