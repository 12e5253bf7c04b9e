// The API client of this app, and the signed-in user.

import { Gatepost, type PrivateUser, type SessionState } from "@gatepost/client";
import { useSyncExternalStore } from "react";
import { watchedFetch } from "./connection";
import { Store, useStore } from "./store";

const environment = import.meta.env as { VITE_API_URL?: string; VITE_TRANSPORT?: string };
// By default the service that `make spa` starts, with the host name of this page.
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

/** The signed-in user; null until loaded. */
export const me = new Store<PrivateUser | null>(null);

export const useMe = (): PrivateUser | null => useStore(me);
