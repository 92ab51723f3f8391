import { useCallback, useEffect, useReducer, useRef, useState } from "react";
import { api } from "../api/client";
import type { SessionView, Signal } from "../api/types";
import { Peer, type PeerState, type Signalling } from "./peer";
import { empty, record } from "./record";

function signalling(session: string): Signalling {
  return {
    send: (signal) => api.POST("/v1/sessions/{session}/signal", { params: { path: { session } }, body: signal }),
    listen: (onSignal, onOpen) => {
      const stream = new EventSource(`/v1/sessions/${encodeURIComponent(session)}/signals`);
      stream.onopen = onOpen;
      stream.addEventListener("signal", (event) => onSignal(JSON.parse(event.data as string) as Signal));
      return () => stream.close();
    },
  };
}

/**
 * Connects to the device of a session as soon as the session allows it, and keeps what it shows. A device
 * takes one connection: only whom the session belongs to connects (`mine`), and of several tabs only one.
 */
export function useSessionPeer(session: SessionView | undefined, mine: boolean) {
  const [state, setState] = useState<PeerState | "waiting">("waiting");
  const [seen, dispatch] = useReducer(record, empty);
  const [route, setRoute] = useState<{ relayed: boolean; rttMS?: number }>();
  const peer = useRef<Peer>(undefined);
  const id = session?.id;
  const allowed = mine && (session?.state === "ready" || session?.state === "open");
  const servers = useRef<SessionView["ice_servers"]>([]);
  servers.current = session?.ice_servers ?? [];

  useEffect(() => {
    if (id === undefined || !allowed) return;
    let told = false;
    const onState = (now: PeerState) => {
      setState(now);
      if (now !== "open" || told) return;
      told = true; // once, for the timeline; a session works without it
      api.POST("/v1/sessions/{session}/opened", { params: { path: { session: id } } }).catch(() => undefined);
    };
    const connect = () => {
      const made = new Peer(servers.current, signalling(id), { onState, onMessage: dispatch });
      peer.current = made;
      const timer = setInterval(() => void made.route().then(setRoute, () => undefined), 2_000);
      return () => {
        clearInterval(timer);
        peer.current = undefined;
        made.close();
      };
    };
    const over = new AbortController();
    const held = () =>
      new Promise<void>((release) => {
        const close = connect();
        over.signal.addEventListener("abort", () => {
          close();
          release();
        });
      });
    navigator.locks.request(`hearthline session ${id}`, { signal: over.signal }, held).catch(() => undefined); // not held yet at the end
    return () => over.abort();
  }, [id, allowed]);

  const diagnose = useCallback((kind: string, target?: string) => {
    const ask = { id: crypto.randomUUID(), do: "diagnose", request: { kind, target } } as const;
    if (peer.current?.ask(ask)) dispatch({ type: "asked", ask });
  }, []);

  return { state, seen, route, diagnose };
}
