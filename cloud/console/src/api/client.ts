import createClient, { type Middleware } from "openapi-fetch";
import type { components, paths } from "./schema";

/** An answer of the API that is not a success (RFC 9457 Problem Details), or none at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number, // 0 when the service could not be reached
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

// The token that unsafe requests must carry. Signing in hands it out; it lives in memory only.
let csrf = "";
export const setCsrf = (token: string) => {
  csrf = token;
};

const edge: Middleware = {
  onRequest({ request }) {
    request.headers.set("Accept-Language", document.documentElement.lang);
    if (request.method !== "GET") request.headers.set("X-CSRF-Token", csrf);
    return request;
  },
  async onResponse({ response }) {
    if (response.ok) return;
    const fault = (await response.json().catch(() => ({}))) as Partial<components["schemas"]["Fault"]>;
    const field = fault.errors?.[0];
    throw new ApiError(response.status, fault.code ?? "", field ? `${field.field}: ${field.message}` : (fault.detail ?? fault.title ?? response.statusText));
  },
  onError({ error }) {
    if (error instanceof DOMException && error.name === "AbortError") return;
    return new ApiError(0, "unreachable", String(error));
  },
};

export const api = createClient<paths>({ credentials: "same-origin" });
api.use(edge);

/** The body of a successful answer. Failures have been thrown on the way. */
export async function body<T>(answer: Promise<{ data?: T }>): Promise<T> {
  return (await answer).data as T;
}
