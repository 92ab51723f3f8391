import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useState } from "react";

/**
 * Keeps queries fresh from a server-sent event stream: each `changed` event makes the named queries
 * stale. The browser reconnects by itself; whatever was missed meanwhile is made good by refreshing
 * once the stream is open again. Returns false while the stream is down.
 */
export function useLive(url: string | undefined, keys: readonly string[]): boolean {
  const client = useQueryClient();
  const [up, setUp] = useState(true);
  const wanted = keys.join(" ");
  useEffect(() => {
    if (url === undefined) return;
    const refresh = () => {
      for (const key of wanted.split(" ")) void client.invalidateQueries({ queryKey: [key] });
    };
    // A burst of entries becomes one refresh.
    let timer: ReturnType<typeof setTimeout> | undefined;
    const soon = () => {
      timer ??= setTimeout(() => {
        timer = undefined;
        refresh();
      }, 120);
    };
    let broken = false;
    const stream = new EventSource(url);
    stream.onopen = () => {
      setUp(true);
      if (broken) refresh();
      broken = false;
    };
    stream.onerror = () => {
      broken = true;
      setUp(false);
    };
    stream.addEventListener("changed", soon);
    return () => {
      clearTimeout(timer);
      stream.close();
    };
  }, [client, url, wanted]);
  return up;
}
