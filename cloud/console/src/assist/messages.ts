import type { Diagnosis, Step } from "../api/types";

// What browser and device say to each other on the data channel "control": one JSON object a message.

export interface Ask {
  id: string;
  do: "diagnose";
  request: { kind: string; target?: string; args?: Record<string, string> };
}

export interface Sample {
  name: string;
  instance?: string;
  value: number;
}

export type FromDevice =
  | { type: "step"; id: string; step: Step }
  | { type: "result"; id: string; result: Diagnosis }
  | { type: "failed"; id: string; reason: string }
  | { type: "metrics"; at: number; values: Sample[] }
  | { type: "bye"; reason: string };

/** The longest message that is read, in characters. A whole diagnosis stays far below. */
export const maxMessage = 128 << 10;

const isObject = (v: unknown): v is Record<string, unknown> => typeof v === "object" && v !== null && !Array.isArray(v);

/**
 * Reads a message of the device; undefined when it is none of those above. A device in a home is not
 * trusted to be well: what reaches the page has the shape that the page expects.
 */
export function read(data: unknown): FromDevice | undefined {
  if (typeof data !== "string" || data.length > maxMessage) return undefined;
  let m: unknown;
  try {
    m = JSON.parse(data);
  } catch {
    return undefined;
  }
  if (!isObject(m)) return undefined;
  if (typeof m.bye === "string") return { type: "bye", reason: m.bye };
  if (isObject(m.metrics)) {
    const { at, values } = m.metrics;
    const ms = typeof at === "number" ? at : typeof at === "string" ? Date.parse(at) : NaN;
    if (!Number.isFinite(ms) || !Array.isArray(values)) return undefined;
    return { type: "metrics", at: ms, values: values.filter(isSample) };
  }
  if (typeof m.id !== "string") return undefined;
  if (isStep(m.step)) return { type: "step", id: m.id, step: m.step };
  if (isObject(m.result) && m.result.steps === null) m.result.steps = []; // how Go writes an empty list
  if (isDiagnosis(m.result)) return { type: "result", id: m.id, result: m.result };
  if (typeof m.error === "string") return { type: "failed", id: m.id, reason: m.error };
  return undefined;
}

const isSample = (v: unknown): v is Sample =>
  isObject(v) && typeof v.name === "string" && typeof v.value === "number" && Number.isFinite(v.value) && (v.instance === undefined || typeof v.instance === "string");

const isStep = (v: unknown): v is Step =>
  isObject(v) && typeof v.name === "string" && typeof v.status === "string" && typeof v.took_ms === "number";

const isDiagnosis = (v: unknown): v is Diagnosis =>
  isObject(v) && isObject(v.request) && typeof v.request.kind === "string" && Array.isArray(v.steps) && v.steps.every(isStep) &&
  isObject(v.verdict) && typeof v.verdict.segment === "string" && typeof v.verdict.code === "string";
