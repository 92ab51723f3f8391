import type { Diagnosis, Step } from "../api/types";
import type { Samples } from "../components/Chart";
import type { Ask, FromDevice } from "./messages";

/** What a session has shown so far. It is only ever replaced, never changed. */
export interface Record_ {
  runs: Run[]; // newest first
  metrics: ReadonlyMap<string, Live>;
  bye?: string; // why the device ended the session
}

/** One diagnosis asked for in the session. */
export interface Run {
  id: string;
  kind: string;
  steps: Step[];
  result?: Diagnosis;
  failed?: string;
}

export interface Live extends Samples {
  instance: string;
}

/** Seconds of live samples that are kept for the charts: at 1 Hz as many samples. */
export const keep = 180;

export const empty: Record_ = { runs: [], metrics: new Map() };

export type Action = { type: "asked"; ask: Ask } | FromDevice;

export function record(state: Record_, action: Action): Record_ {
  switch (action.type) {
    case "asked":
      return { ...state, runs: [{ id: action.ask.id, kind: action.ask.request.kind, steps: [] }, ...state.runs] };
    case "step":
      return change(state, action.id, (run) => ({ ...run, steps: [...run.steps, action.step] }));
    case "result":
      // The result holds every step once more; it wins over what was streamed.
      return change(state, action.id, (run) => ({ ...run, steps: action.result.steps, result: action.result }));
    case "failed":
      return change(state, action.id, (run) => ({ ...run, failed: action.reason }));
    case "metrics": {
      const metrics = new Map(state.metrics);
      for (const { name, instance = "", value } of action.values) {
        const key = `${name}{${instance}}`;
        const past = metrics.get(key);
        metrics.set(key, {
          metric: name,
          instance,
          at: [...(past?.at ?? []), action.at].slice(-keep),
          value: [...(past?.value ?? []), value].slice(-keep),
        });
      }
      return { ...state, metrics };
    }
    case "bye":
      return { ...state, bye: action.reason };
  }
}

/** An answer to a question that was never asked changes nothing. */
function change(state: Record_, id: string, to: (run: Run) => Run): Record_ {
  return { ...state, runs: state.runs.map((run) => (run.id === id ? to(run) : run)) };
}
