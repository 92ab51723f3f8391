import { read, type Ask, type FromDevice } from "./messages";
import type { SessionView, Signal } from "../api/types";

export type PeerState = "connecting" | "open" | "lost" | "closed";

export interface PeerEvents {
  onState: (state: PeerState) => void;
  onMessage: (message: FromDevice) => void;
}

/** What a peer needs of the signalling between browser and device; the cloud relays it. */
export interface Signalling {
  send: (signal: Signal) => Promise<unknown>;
  /** Calls back with every signal for the browser until the returned function is called. */
  listen: (onSignal: (signal: Signal) => void, onOpen: () => void) => () => void;
}

/**
 * The browser's end of a remote session: one WebRTC connection with one data channel, "control". The
 * browser makes the offer and sends its candidates as it finds them; the device answers. Nothing is
 * sent before the signalling stream stands, so that the answer cannot be missed.
 */
export class Peer {
  private readonly connection: RTCPeerConnection;
  private readonly control: RTCDataChannel;
  private readonly stopListening: () => void;
  private readonly early: RTCIceCandidateInit[] = []; // candidates that came before the answer
  private offered = false;
  private done = false;

  constructor(
    servers: SessionView["ice_servers"],
    private readonly signalling: Signalling,
    private readonly events: PeerEvents,
  ) {
    this.connection = new RTCPeerConnection({ iceServers: servers });
    this.control = this.connection.createDataChannel("control", { ordered: true });
    this.control.onopen = () => events.onState("open");
    this.control.onclose = () => this.close();
    this.control.onmessage = ({ data }) => {
      const message = read(data);
      if (message) events.onMessage(message);
    };
    this.connection.onicecandidate = ({ candidate }) => {
      if (candidate) this.send({ kind: "candidate", body: JSON.stringify(candidate.toJSON()) });
    };
    this.connection.onconnectionstatechange = () => {
      const state = this.connection.connectionState;
      if (state === "failed") this.close();
      else if (state === "disconnected") events.onState("lost"); // may come back by itself
      else if (state === "connected" && this.control.readyState === "open") events.onState("open");
    };
    this.stopListening = signalling.listen(
      (signal) => void this.receive(signal),
      () => void this.offer(),
    );
    events.onState("connecting");
  }

  /** Asks the device to do something; false when the channel is not open. */
  ask(ask: Ask): boolean {
    if (this.control.readyState !== "open") return false;
    this.control.send(JSON.stringify(ask));
    return true;
  }

  /** How the two are connected: directly, or through the relay. Undefined until they are. */
  async route(): Promise<{ relayed: boolean; rttMS?: number } | undefined> {
    const stats = await this.connection.getStats();
    for (const pair of stats.values()) {
      if (pair.type !== "candidate-pair" || !pair.nominated || pair.state !== "succeeded") continue;
      const ends = [stats.get(pair.localCandidateId), stats.get(pair.remoteCandidateId)];
      const seconds = pair.currentRoundTripTime as number | undefined;
      return { relayed: ends.some((end) => end?.candidateType === "relay"), rttMS: seconds === undefined ? undefined : seconds * 1000 };
    }
    return undefined;
  }

  /** Closes everything. It may be called more than once. */
  close() {
    if (this.done) return;
    this.done = true;
    this.stopListening();
    this.control.close();
    this.connection.close();
    this.events.onState("closed");
  }

  private send(signal: Signal) {
    // A signal that cannot be delivered ends in a connection that never opens, which the panel shows.
    this.signalling.send(signal).catch(() => undefined);
  }

  private async offer() {
    if (this.offered || this.done) return; // the stream was opened again after a break
    this.offered = true;
    await this.connection.setLocalDescription();
    this.send({ kind: "offer", body: this.connection.localDescription!.sdp });
  }

  private async receive(signal: Signal) {
    if (this.done) return;
    try {
      switch (signal.kind) {
        case "answer":
          if (this.connection.signalingState !== "have-local-offer") return; // replayed after a break
          await this.connection.setRemoteDescription({ type: "answer", sdp: signal.body });
          for (const candidate of this.early.splice(0)) await this.connection.addIceCandidate(candidate);
          return;
        case "candidate": {
          const candidate = JSON.parse(signal.body) as RTCIceCandidateInit;
          if (this.connection.remoteDescription) await this.connection.addIceCandidate(candidate);
          else this.early.push(candidate);
          return;
        }
        case "end":
          this.events.onMessage({ type: "bye", reason: signal.body });
          this.close();
      }
    } catch {
      // One candidate that this browser cannot use leaves the others.
      if (signal.kind === "answer") this.close();
    }
  }
}
