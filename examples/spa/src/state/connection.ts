// The state of the connection, from the last request, and the moments to retry.

import { Store, useStore } from "./store";

export type Connection =
  | { readonly kind: "ok" }
  | { readonly kind: "offline" }
  | { readonly kind: "unreachable" }
  /** The service answers with 503. */
  | { readonly kind: "unavailable"; readonly detail: string };

const PROBE_MS = 4_000;
const UNAVAILABLE = "The service is temporarily unavailable.";
const OK: Connection = { kind: "ok" };

export const connection = new Store<Connection>(navigator.onLine ? OK : { kind: "offline" });
/** Increased whenever failed requests should be retried. */
export const attempts = new Store(0);

export const useConnection = (): Connection => useStore(connection);
export const useAttempts = (): number => useStore(attempts);

let probeUrl = "";
let timer: ReturnType<typeof setTimeout> | undefined;

/** Return a fetch that records its outcome in `connection`. */
export function watchedFetch(baseUrl: string): (url: string, init: RequestInit) => Promise<Response> {
  probeUrl = `${baseUrl}/health/ready`;
  return async (url, init) => {
    try {
      const response = await fetch(url, init);
      note(response.status === 503 ? { kind: "unavailable", detail: await detailOf(response) } : OK);
      return response;
    } catch (error) {
      // The app itself aborts requests with an AbortError; a timeout is a TimeoutError.
      if (!(error instanceof DOMException && error.name === "AbortError")) {
        note({ kind: navigator.onLine ? "unreachable" : "offline" });
      }
      throw error;
    }
  };
}

async function detailOf(response: Response): Promise<string> {
  try {
    return ((await response.clone().json()) as { detail?: string }).detail ?? UNAVAILABLE;
  } catch {
    return UNAVAILABLE; // the response of a proxy
  }
}

/** Retry failed requests. */
export function tryAgain(): void {
  attempts.update((count) => count + 1);
}

function note(next: Connection): void {
  const before = connection.get();
  if (next.kind !== before.kind || next.kind === "unavailable") {
    connection.set(next);
  }
  clearTimeout(timer);
  if (next.kind !== "ok") {
    timer = setTimeout(() => void probe(), PROBE_MS);
  } else if (before.kind !== "ok") {
    tryAgain();
  }
}

/** Check whether the service is available again, and repeat the check until it is. */
async function probe(): Promise<void> {
  try {
    const response = await fetch(probeUrl, { cache: "no-store", credentials: "omit" });
    const { maintenance } = (await response.json()) as { maintenance?: boolean };
    if (response.ok && !maintenance) {
      note(OK);
      return;
    }
  } catch {
    // still unavailable
  }
  timer = setTimeout(() => void probe(), PROBE_MS);
}

addEventListener("offline", () => note({ kind: "offline" }));
addEventListener("online", () => void probe());
