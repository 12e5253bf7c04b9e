// Whether the service can be reached, as far as the last request told, and when to try again.

import { Store, useStore } from "./store";

export type Connection =
  | { readonly kind: "ok" }
  | { readonly kind: "offline" }
  | { readonly kind: "unreachable" }
  /** It answers, and says that it can't serve now. */
  | { readonly kind: "unavailable"; readonly detail: string };

const PROBE_MS = 4_000;
const BUSY = "The service can’t answer now.";
const OK: Connection = { kind: "ok" };

export const connection = new Store<Connection>(navigator.onLine ? OK : { kind: "offline" });
/** Counts the occasions to try again what failed. */
export const attempts = new Store(0);

export const useConnection = (): Connection => useStore(connection);
export const useAttempts = (): number => useStore(attempts);

let probeUrl = "";
let timer: ReturnType<typeof setTimeout> | undefined;

/** fetch, with its outcome noted. */
export function watchedFetch(baseUrl: string): (url: string, init: RequestInit) => Promise<Response> {
  probeUrl = `${baseUrl}/health/ready`;
  return async (url, init) => {
    try {
      const response = await fetch(url, init);
      note(response.status === 503 ? { kind: "unavailable", detail: await detailOf(response) } : OK);
      return response;
    } catch (error) {
      // An abort is our own doing, and the deadline's is a TimeoutError.
      if (!(error instanceof DOMException && error.name === "AbortError")) {
        note({ kind: navigator.onLine ? "unreachable" : "offline" });
      }
      throw error;
    }
  };
}

async function detailOf(response: Response): Promise<string> {
  try {
    return ((await response.clone().json()) as { detail?: string }).detail ?? BUSY;
  } catch {
    return BUSY; // from a proxy, not from the service
  }
}

/** Try again what failed. */
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

/** Ask whether it is well again, so that nobody has to press a button. */
async function probe(): Promise<void> {
  try {
    const response = await fetch(probeUrl, { cache: "no-store", credentials: "omit" });
    const { maintenance } = (await response.json()) as { maintenance?: boolean };
    if (response.ok && !maintenance) {
      note(OK);
      return;
    }
  } catch {
    // as before
  }
  timer = setTimeout(() => void probe(), PROBE_MS);
}

addEventListener("offline", () => note({ kind: "offline" }));
addEventListener("online", () => void probe());
