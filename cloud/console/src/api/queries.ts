import { keepPreviousData, QueryCache, QueryClient, useInfiniteQuery, useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { api, ApiError, body, setCsrf } from "./client";

// Every read of the pages, one hook each; writes are in mutations.ts. Live events (live.ts) make stale
// by the first part of the keys used here.

export function newQueryClient() {
  const client: QueryClient = new QueryClient({
    // Whose session has run out is asked to sign in again.
    queryCache: new QueryCache({
      onError: (error, { queryKey: [first] }) => {
        if (first !== "me" && error instanceof ApiError && error.status === 401) void client.invalidateQueries({ queryKey: ["me"] });
      },
    }),
    defaultOptions: {
      queries: {
        staleTime: 15_000,
        // What the caller did wrong stays wrong; what failed on the way may work the second time.
        retry: (count, error) => count < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
      },
    },
  });
  return client;
}

export const useMe = () =>
  useQuery({
    queryKey: ["me"],
    queryFn: async ({ signal }) => {
      const me = await body(api.GET("/v1/me", { signal }));
      setCsrf(me.csrf);
      return me;
    },
    staleTime: Infinity,
  });

export function useSignIn() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: (input: { name: string; password: string }) => body(api.POST("/v1/sign-in", { body: input })),
    onSuccess: (me) => {
      setCsrf(me.csrf);
      client.setQueryData(["me"], me);
    },
  });
}

export function useSignOut() {
  const client = useQueryClient();
  return useMutation({
    mutationFn: () => api.POST("/v1/sign-out"),
    onSuccess: () => {
      client.clear();
      location.assign("/");
    },
  });
}

export const useFind = (q: string) =>
  useQuery({
    queryKey: ["find", q],
    queryFn: ({ signal }) => body(api.GET("/v1/find", { params: { query: { q } }, signal })),
    enabled: q.length >= 2,
    placeholderData: keepPreviousData,
    select: (list) => list.items,
  });

export const useCustomer = (customer: string) =>
  useQuery({
    queryKey: ["customer", customer],
    queryFn: ({ signal }) => body(api.GET("/v1/customers/{customer}", { params: { path: { customer } }, signal })),
  });

export const useEntries = (home: string) =>
  useInfiniteQuery({
    queryKey: ["entries", home],
    initialPageParam: undefined as string | undefined,
    queryFn: ({ pageParam, signal }) =>
      body(api.GET("/v1/homes/{home}/entries", { params: { path: { home }, query: { before: pageParam, limit: 100 } }, signal })),
    getNextPageParam: (last) => last.next || undefined,
    select: (data) => data.pages.flatMap((page) => page.items),
  });

export const useWhy = (home: string, entry: string, enabled: boolean) =>
  useQuery({
    queryKey: ["why", home, entry],
    queryFn: ({ signal }) => body(api.GET("/v1/homes/{home}/entries/{entry}/why", { params: { path: { home, entry } }, signal })),
    select: (list) => list.items,
    staleTime: Infinity, // the past does not change
    enabled,
  });

export interface Range {
  from: number; // milliseconds since 1970
  to: number;
}

/** Samples of some metrics of a device; a metric may be written `name{instance}`. */
export const useTelemetry = (device: string | undefined, metric: string[], range: Range, points = 240) =>
  useQuery({
    queryKey: ["telemetry", device, metric, range],
    enabled: device !== undefined && metric.length > 0,
    queryFn: ({ signal }) =>
      body(
        api.GET("/v1/devices/{device}/telemetry", {
          params: {
            path: { device: device! },
            query: { metric, points, from: new Date(range.from).toISOString(), to: new Date(range.to).toISOString() },
          },
          signal,
        }),
      ),
    select: (answer) => answer.series,
    placeholderData: keepPreviousData,
  });

export type TicketState = "open" | "waiting" | "solved";

export const useTickets = (state: TicketState[]) =>
  useQuery({
    queryKey: ["tickets", ...state],
    queryFn: ({ signal }) => body(api.GET("/v1/tickets", { params: { query: { state, limit: 200 } }, signal })),
    select: (list) => list.items,
  });

export const useOutages = () =>
  useQuery({
    queryKey: ["outages"],
    queryFn: ({ signal }) => body(api.GET("/v1/outages", { signal })),
    select: (page) => page.items,
    refetchInterval: 60_000,
  });

export const useProblems = () =>
  useQuery({
    queryKey: ["problems"],
    queryFn: ({ signal }) => body(api.GET("/v1/problems", { params: { query: { state: "all" } }, signal })),
    select: (list) => list.items,
  });

export const useProblem = (problem: string) =>
  useQuery({
    queryKey: ["problem", problem],
    queryFn: ({ signal }) => body(api.GET("/v1/problems/{problem}", { params: { path: { problem } }, signal })),
  });

export const useSession = (session: string) =>
  useQuery({
    queryKey: ["session", session],
    queryFn: ({ signal }) => body(api.GET("/v1/sessions/{session}", { params: { path: { session } }, signal })),
  });

/** The inbox of the customer whose signed link opened it. */
export const useInbox = (enabled: boolean) =>
  useQuery({
    queryKey: ["inbox"],
    queryFn: async ({ signal }) => {
      const inbox = await body(api.GET("/v1/inbox", { signal }));
      setCsrf(inbox.csrf);
      return inbox;
    },
    enabled,
  });
