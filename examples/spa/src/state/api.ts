// The one client of this app, and who is signed in.

import { Gatepost, type PrivateUser, type SessionState } from "@gatepost/client";
import { useSyncExternalStore } from "react";
import { watchedFetch } from "./connection";
import { Store, useStore } from "./store";

const environment = import.meta.env as { VITE_API_URL?: string; VITE_TRANSPORT?: string };
// By default the service that `make spa` starts, under the name by which this page was opened.
const baseUrl = environment.VITE_API_URL || `${location.protocol}//${location.hostname}:8000`;

export const api = new Gatepost({
  baseUrl,
  transport: environment.VITE_TRANSPORT === "cookie" ? "cookie" : "body",
  fetch: watchedFetch(baseUrl),
});

export function useSession(): SessionState {
  return useSyncExternalStore(
    (listener) => api.onSessionChange(listener),
    () => api.session,
  );
}

/** Whoever is signed in, once known. */
export const me = new Store<PrivateUser | null>(null);

export const useMe = (): PrivateUser | null => useStore(me);
