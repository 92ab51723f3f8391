import type { components } from "../src/api/schema";

// A made-up home for working on the pages without a service: `npm run sample`. Its types come from the
// OpenAPI document, so it cannot tell another story than the service could.

type S = components["schemas"];

const now = Date.now();
export const ago = (seconds: number) => new Date(now - seconds * 1000).toISOString();
const minute = 60;
const hour = 3600;
const due = ago(-3 * hour);

export const homes: S["Home"][] = [
  { id: "h1", name: "Lindenweg 4", region: "eu-central", isp: "Nordnetz", time_zone: "Europe/Berlin" },
];
const hub: S["Ref"] = { type: "device", id: "hub-7f3a" };
const us: S["Ref"] = { type: "service", id: "remedy" };

const reason = (feature: string, instance: string, value: number, normal: number, share: number) => ({ feature, instance, value, normal, share });

interface Draft {
  id: string;
  s: number;
  kind: string;
  summary: string;
  because?: string[];
  actor?: S["Ref"];
  name?: string;
  more?: Partial<S["EntryView"]>;
}

const entry = ({ id, s, kind, summary, because = [], actor = hub, name = "The hub", more }: Draft): S["EntryView"] => ({
  id, home: "h1", at: ago(s), recorded: ago(s - 0.3), kind, summary, because, actor, actor_name: name, subjects: [hub], ...more,
});

const dns = { metric: "dns.latency_ms", instance: "192.168.7.1" };
const loss = { metric: "wan.loss_ratio", instance: "" };
const ms = (s: number) => now - s * 1000;

const diagnosis: S["Diagnosis"] = {
  request: { kind: "connection" },
  verdict: { segment: "isp", code: "uplink.loss", args: { loss_ratio: "0.31" } },
  steps: [
    { name: "interface.state", target: "eth0", status: "ok", took_ms: 2 },
    { name: "route.default", status: "ok", args: { interface: "eth0", gateway: "192.168.7.1" }, took_ms: 0 },
    { name: "dhcp.lease", target: "eth0", status: "ok", args: { address: "192.168.7.23/24", left_s: "38211" }, took_ms: 1 },
    { name: "gateway.ping", target: "192.168.7.1", status: "ok", args: { sent: "10", answered: "10", loss_ratio: "0", rtt_ms: "0.61" }, took_ms: 912 },
    { name: "wan.ping", target: "198.51.100.1", status: "fail", code: "loss", args: { sent: "20", answered: "14", loss_ratio: "0.3", rtt_ms: "24.8" }, took_ms: 2480 },
    { name: "dns.query", target: "203.0.113.53", status: "warn", code: "slow", args: { latency_ms: "412" }, took_ms: 1236 },
    { name: "cloud.connect", target: "cloud.hearthline.test:8883", status: "warn", code: "loss", args: { tries: "3", worked: "2", rtt_ms: "31" }, took_ms: 2093 },
  ],
};

export const entries: S["EntryView"][] = [
  entry({ id: "e20", s: 40, kind: "contact.received", summary: "Customer got in touch (phone): My video calls keep breaking off since lunch.", actor: { type: "customer", id: "c1" }, name: "Marta Lindqvist" }),
  entry({ id: "e19", s: 4 * minute, kind: "customer.told", summary: "Customer told in the inbox: a problem was found and we are on it", because: ["e18"], actor: us, name: "Hearthline" }),
  entry({ id: "e18", s: 4 * minute + 1, kind: "ticket.opened", summary: "Ticket opened, blamed: the internet provider", because: ["e16", "e17"], actor: us, name: "Hearthline", more: { subjects: [{ type: "ticket", id: "t1" }, hub], diagnosis } }),
  entry({ id: "e17", s: 4 * minute + 2, kind: "diagnosis.done", summary: "Diagnosis finished (the whole connection): the internet provider, packets are lost on the way out", because: ["e15"], more: { diagnosis } }),
  entry({ id: "e16", s: 4 * minute + 9, kind: "fix.rolled_back", summary: "Fix did not help and was undone: restart the network interface", because: ["e15"], more: { args: { plan: "bounce-uplink", command: "k2" } } }),
  entry({ id: "e15", s: 4 * minute + 22, kind: "fix.applied", summary: "Fix applied on the hub: restart the network interface", because: ["e14"], more: { args: { plan: "bounce-uplink", command: "k2" } } }),
  entry({ id: "e14", s: 4 * minute + 24, kind: "fix.chosen", summary: "Fix chosen: restart the network interface", because: ["e13"], actor: us, name: "Hearthline", more: { args: { plan: "bounce-uplink", command: "k2" } } }),
  entry({
    id: "e13", s: 4 * minute + 25, kind: "risk.raised", summary: "A connection fault is likely (87%): Packet loss to the internet 28%, usually 0%", because: ["e12"], actor: { type: "service", id: "predict" }, name: "Hearthline",
    more: { risk: { model: "m1", probability: 0.87, horizon_s: 86400, reasons: [reason("wan.loss_ratio", "", 0.28, 0, 0.71), reason("tcp.retransmits", "", 44, 2, 0.18), reason("wan.rtt_ms", "", 31, 24, 0.06)] } },
  }),
  entry({ id: "e12", s: 4 * minute + 34, kind: "symptom.seen", summary: "Packet loss to the internet is out of its normal range: 28%, usually 0%", more: { evidence: [{ ...loss, from: ms(4 * minute + 60), to: ms(4 * minute + 30) }] } }),
  entry({ id: "e11", s: 50 * minute, kind: "promise.made", summary: `Promised to the customer by ${due}: we look at the evening drop-outs and report back`, because: ["e10"], actor: { type: "staff", id: "s2" }, name: "Jonas (support)" }),
  entry({ id: "e10", s: 55 * minute, kind: "contact.received", summary: "Customer got in touch (inbox): In the evening the internet is sometimes gone for a minute. Is it my router?", actor: { type: "customer", id: "c1" }, name: "Marta Lindqvist" }),
  entry({ id: "e9", s: 2 * hour, kind: "customer.told", summary: "Customer told in the inbox: a problem was found and fixed", because: ["e8"], actor: us, name: "Hearthline" }),
  entry({ id: "e8", s: 2 * hour + 3, kind: "fix.verified", summary: "Fix verified, the change is kept: switch to another DNS resolver", because: ["e7"], more: { args: { plan: "switch-resolver", command: "k1" } } }),
  entry({ id: "e7", s: 2 * hour + 9, kind: "fix.applied", summary: "Fix applied on the hub: switch to another DNS resolver", because: ["e6"], more: { args: { plan: "switch-resolver", command: "k1" } } }),
  entry({ id: "e6", s: 2 * hour + 10, kind: "command.sent", summary: "Command sent to the hub: switch to another DNS resolver", because: ["e5"], actor: us, name: "Hearthline", more: { args: { plan: "switch-resolver", command: "k1" } } }),
  entry({ id: "e5", s: 2 * hour + 10.4, kind: "fix.chosen", summary: "Fix chosen: switch to another DNS resolver (203.0.113.53)", because: ["e4"], actor: us, name: "Hearthline", more: { args: { plan: "switch-resolver", command: "k1" } } }),
  entry({
    id: "e4", s: 2 * hour + 11, kind: "risk.raised", summary: "A connection fault is likely (74%): Time to look up a name (DNS) 812 ms, usually 14 ms", because: ["e3"],
    more: { risk: { model: "m1", probability: 0.74, horizon_s: 86400, reasons: [reason("dns.latency_ms", "192.168.7.1", 812, 14, 0.83), reason("dns.failure_ratio", "192.168.7.1", 0.1, 0, 0.11)] } },
  }),
  entry({ id: "e3", s: 2 * hour + 18, kind: "symptom.seen", summary: "Time to look up a name (DNS) (192.168.7.1) is out of its normal range: 640 ms, usually 14 ms", more: { evidence: [{ ...dns, from: ms(2 * hour + 60), to: ms(2 * hour + 18) }] } }),
  entry({ id: "e2", s: 26 * hour, kind: "device.online", summary: "Device is online", actor: { type: "service", id: "fleet" }, name: "Hearthline" }),
  entry({ id: "e1", s: 26 * hour + 4, kind: "agent.started", summary: "The hub's agent started (for the first time)" }),
];

const health: S["Health"] = {
  score: 46, blame: "isp",
  reasons: [
    { text: "Packets are lost on the way to the internet", feature: "wan.loss_ratio", share: 0.74 },
    { text: "Two connection faults in the last day", feature: "faults.day", share: 0.19 },
  ],
};
const readings: S["Reading"][] = [
  { metric: "wan.loss_ratio", value: 0.28, at: ago(2), name: "Packet loss to the internet", text: "28%" },
  { metric: "dns.latency_ms", instance: "203.0.113.53", value: 21, at: ago(2), name: "DNS", text: "21 ms" },
  { metric: "dns.active", instance: "203.0.113.53", value: 1, at: ago(2), name: "DNS", text: "1" },
  { metric: "wan.rtt_ms", value: 31, at: ago(2), name: "Response time of the internet", text: "31 ms" },
  { metric: "gateway.rtt_ms", value: 0.6, at: ago(2), name: "Response time of the router", text: "0.6 ms" },
];
const devices: S["DeviceView"][] = [
  { id: hub.id, home: "h1", name: "Hub in the hall", model: "HL-Hub 2", hardware: "rev C", firmware: "2.8.1", added: ago(300 * 24 * hour), online: true, seen: ago(2), since: ago(26 * hour), health, readings },
  { id: "therm-19", home: "h1", name: "Thermostat", model: "HL-T1", hardware: "rev A", firmware: "1.4.0", added: ago(200 * 24 * hour), online: true, seen: ago(31), since: ago(9 * 24 * hour), health: { score: 96, reasons: [] }, readings: [] },
  { id: "lock-02", home: "h1", name: "Front door lock", model: "HL-Lock", hardware: "rev B", firmware: "3.0.2", added: ago(90 * 24 * hour), online: false, seen: ago(3 * hour), since: ago(3 * hour), readings: [] },
];

export const tickets: S["TicketView"][] = [
  { id: "t1", home: "h1", device: hub.id, title: "uplink.loss", title_text: "Packets are lost on the way out", state: "open", segment: "isp", opened: ago(4 * minute + 1), because: ["e16", "e17"], customer_name: "Marta Lindqvist", customer_id: "c1", home_name: "Lindenweg 4", device_name: "Hub in the hall" },
  { id: "t2", home: "h2", device: "hub-22", title: "gateway.loss", title_text: "Packets are lost on the way to the router", state: "waiting", segment: "home", opened: ago(6 * hour), because: [], customer_name: "王小明", customer_id: "c2", home_name: "上海 · 徐汇", device_name: "客厅网关" },
  { id: "t3", home: "h3", device: "hub-23", title: "resolver.dead", title_text: "A DNS resolver does not answer", state: "open", segment: "unknown", opened: ago(30 * hour), because: [], customer_name: "Sam Okafor", customer_id: "c3", home_name: "12 Mill Lane", device_name: "Hub" },
];

export const session: S["SessionView"] = {
  id: "s1", home: "h1", device: hub.id, ticket: "t1", staff: "s1", allow: ["diagnose", "metrics"], state: "waiting", asked: ago(8), ice_servers: [],
  consent: { request: "r1", what: ["diagnose", "metrics"], session: "s1", state: "asked", until: new Date(now + 280_000).toISOString() },
};

export const customer: S["CustomerView"] = {
  customer: { id: "c1", name: "Marta Lindqvist", phones: ["+4915112345678"], emails: ["marta@lindqvist.example"], accounts: ["marta"], language: "en", since: ago(300 * 24 * hour) },
  homes: [{ home: homes[0]!, role: "owner", begin: ago(300 * 24 * hour), health, devices }],
  tickets: [tickets[0]!],
  contacts: [
    { id: "k2", home: "h1", customer: "c1", channel: "phone", from: "+4915112345678", text: "My video calls keep breaking off since lunch.", at: ago(40) },
    { id: "k1", home: "h1", customer: "c1", channel: "inbox", from: "c1", text: "In the evening the internet is sometimes gone for a minute. Is it my router?", at: ago(55 * minute), promise: { text: "We look at the evening drop-outs and report back", due } },
  ],
  promises: [{ text: "We look at the evening drop-outs and report back", due, at: ago(50 * minute), contact: "k1", kept: false }],
  problems: [],
  sessions: [],
  timeline: entries,
};

export const matches: S["Match"][] = [
  { customer: customer.customer, homes, devices: devices.slice(0, 2), open_tickets: 1, matched: "phone", home: "h1" },
  { customer: { ...customer.customer, id: "c4", name: "Jan Lindqvist", phones: ["+4915199887766"] }, homes: [{ ...homes[0]!, id: "h4", name: "Hafenstraße 19" }], devices: [{ ...devices[0]!, name: "Hub" }], open_tickets: 0, matched: "name", home: "h4" },
];

const day = (n: number) => ago(n * 24 * hour).slice(0, 10);
const problem: S["Problem"] = { id: "p1", state: "open", opened: ago(5 * hour), cohort: { model: "HL-Hub 2", firmware: "2.9.0" }, cohort_text: "model HL-Hub 2 with firmware 2.9.0", homes_affected: 6, tickets_linked: 2 };
export const outages: S["Outage"][] = [{ id: "o1", state: "closed", segment: "isp", segment_text: "the internet provider", place_text: "region eu-central", from: ago(30 * hour), to: ago(28 * hour), homes: 214 }];
export const problems: S["Problem"][] = [problem, { ...problem, id: "p0", state: "closed", cohort: { isp: "Nordnetz", region: "eu-central" }, cohort_text: "region eu-central at provider Nordnetz", opened: ago(40 * 24 * hour), closed: ago(38 * 24 * hour), homes_affected: 31, tickets_linked: 4 }];
export const problemView: S["ProblemView"] = {
  ...problem,
  evidence: {
    observed: 23, expected: 6.4, devices: 84, window_from: ago(5 * 24 * hour), window_to: ago(5 * hour), score: 9.8,
    daily: [1, 2, 0, 1, 1, 2, 1, 0, 1, 3, 4, 6, 9, 7].map((observed, i) => ({ day: day(13 - i), observed, expected: 1.1 + (i % 3) * 0.15 })),
  },
  homes: ["Marta Lindqvist", "王小明", "Sam Okafor", "Ada Brandt", "陳怡君", "Luis Ferro"].map((customer_name, i) => ({
    home: `h${i + 1}`, customer_id: `c${i + 1}`, customer_name, device: `hub-${i}`, device_name: i % 2 ? "Hub" : "Hub in the hall", told: i < 5 ? ago(4.8 * hour) : undefined, ticket: i < 2 ? `t${i}` : undefined,
  })),
  tickets: tickets.slice(0, 2),
};

export const inbox: S["Inbox"] = {
  csrf: "x", customer: { name: "Marta Lindqvist", language: "en" },
  homes: [{ home: homes[0]!, devices: [{ id: hub.id, name: "Hub in the hall", online: true, health }] }],
  notices: [
    { id: "n1", at: ago(2 * hour), title: "A problem was found and fixed", text: "Looking up names on the internet had become slow. We switched your hub to another server, and it is fast again.", tone: "good", resolved: true },
    { id: "n2", at: ago(4 * minute), title: "A problem was found and we are on it", text: "Packets are lost between your router and the internet. A restart of the connection did not help, so our support has it now.", tone: "bad", resolved: false },
    { id: "n3", at: ago(8), title: "May our support look at your connection?", text: "Jonas would like to look at your hub from here, to find out why the connection drops.", tone: "ask", resolved: false, consent: session.consent },
  ],
  messages: [
    { at: ago(55 * minute), from: "you", channel: "inbox", text: "In the evening the internet is sometimes gone for a minute. Is it my router?" },
    { at: ago(50 * minute), from: "us", channel: "inbox", text: "Thank you. We look at it tonight.", promise: { text: "We look at the evening drop-outs and report back", due } },
  ],
  sessions: [session],
};
