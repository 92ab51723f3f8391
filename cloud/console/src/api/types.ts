// Short names for the schemas of the OpenAPI document that the pages use. schema.d.ts is generated from
// the service itself (`npm run types`), so a change over there is a type error here.
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Me = Schemas["Me"];
export type Match = Schemas["Match"];
export type CustomerView = Schemas["CustomerView"];
export type HomeView = Schemas["HomeView"];
export type DeviceView = Schemas["DeviceView"];
export type Health = Schemas["Health"];
export type Outage = Schemas["Outage"];
export type Ticket = Schemas["TicketView"];
export type Contact = Schemas["Contact"];
export type PromiseView = Schemas["PromiseView"];

export type Entry = Schemas["EntryView"];
export type Diagnosis = Schemas["Diagnosis"];
export type DiagnosisRequest = Schemas["InDiagnoseBody"];
export type Step = Schemas["Step"];
export type Series = Schemas["Series"];

export type Session = Schemas["Session"];
export type SessionView = Schemas["SessionView"];
export type Signal = Schemas["Signal"];

export type Problem = Schemas["Problem"];
export type ProblemView = Schemas["ProblemView"];
export type Cohort = Schemas["Cohort"];

export type Inbox = Schemas["Inbox"];
export type Notice = Schemas["NoticeView"];
export type InboxMessage = Schemas["InboxMessage"];

/** The part of the path that is blamed. */
export type Segment = "none" | "device" | "home" | "isp" | "cloud" | "unknown";

/** Reads a segment off the wire; one that this console does not know is as good as unknown. */
export const segment = (s: string | undefined): Segment =>
  s === "none" || s === "device" || s === "home" || s === "isp" || s === "cloud" ? s : "unknown";
