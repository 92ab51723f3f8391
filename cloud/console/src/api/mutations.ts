import { useMutation, useQueryClient } from "@tanstack/react-query";
import { useRef } from "react";
import { api, body, setCsrf } from "./client";
import type { DiagnosisRequest } from "./types";

// Every write of the pages, one hook each, with what it may have made stale.

function useWrite<In, Out>(write: (input: In) => Promise<Out>, ...stale: string[]) {
  const client = useQueryClient();
  const join = useRef(joining<Out>());
  return useMutation({
    mutationFn: (input: In) =>
      join.current(async () => {
        const out = await write(input);
        await Promise.all(stale.map((key) => client.invalidateQueries({ queryKey: [key] })));
        return out;
      }),
  });
}

/** A button that is pressed twice writes once: what is asked while a write runs shares its outcome. */
export function joining<Out>(): (write: () => Promise<Out>) => Promise<Out> {
  let running: Promise<Out> | undefined;
  return (write) => (running ??= write().finally(() => (running = undefined)));
}

export const useDiagnose = (device: string) =>
  useWrite(
    (request: DiagnosisRequest) =>
      body(api.POST("/v1/devices/{device}/diagnoses", { params: { path: { device } }, body: request })),
    "entries",
  );

export const useOpenTicket = () =>
  useWrite(
    (input: { home: string; device?: string; title: string }) => body(api.POST("/v1/tickets", { body: input })),
    "customer", "entries", "tickets",
  );

export const useCloseTicket = () =>
  useWrite(
    ({ ticket, text }: { ticket: string; text: string }) =>
      api.POST("/v1/tickets/{ticket}/close", { params: { path: { ticket } }, body: { text } }),
    "customer", "entries", "tickets",
  );

export const useNoteTicket = () =>
  useWrite(
    ({ ticket, text }: { ticket: string; text: string }) =>
      api.POST("/v1/tickets/{ticket}/notes", { params: { path: { ticket } }, body: { text } }),
    "entries",
  );

export const useKeepPromise = () =>
  useWrite((contact: string) => api.POST("/v1/contacts/{contact}/kept", { params: { path: { contact } } }), "customer");

export interface NewContact {
  channel: "phone" | "email" | "chat" | "app";
  from: string;
  home?: string;
  text: string;
  promise?: { text: string; due: string };
}

export const useAddContact = () => useWrite((input: NewContact) => body(api.POST("/v1/contacts", { body: input })), "customer", "entries");

export type Allowed = "diagnose" | "metrics";

export const useAskSession = (device: string) =>
  useWrite(
    (input: { ticket?: string; allow: Allowed[] }) => body(api.POST("/v1/devices/{device}/sessions", { params: { path: { device } }, body: input })),
    "customer", "entries",
  );

export const useCloseSession = () =>
  useWrite((session: string) => api.POST("/v1/sessions/{session}/close", { params: { path: { session } } }), "session", "customer", "entries");

/** Exchanges the signed token of an inbox link for a cookie. */
export async function openInbox(token: string) {
  setCsrf((await body(api.POST("/v1/inbox/open", { body: { token } }))).csrf);
}

export type Answer = "given" | "refused" | "withdrawn";

export const useAnswer = () =>
  useWrite(
    ({ request, answer }: { request: string; answer: Answer }) =>
      api.POST("/v1/inbox/consents/{request}", { params: { path: { request } }, body: { answer } }),
    "inbox",
  );

export const useWriteToUs = () => useWrite((text: string) => api.POST("/v1/inbox/messages", { body: { text } }), "inbox");
