// Fetching what a page shows: called off when the page is left, tried again when the service is back.

import { useCallback, useEffect, useState } from "react";
import { attempts } from "./connection";

export interface Loaded<T> {
  readonly data: T | null;
  readonly error: unknown;
  readonly isLoading: boolean;
  readonly reload: () => void;
  /** Show other data, as a change that is on its way. */
  readonly set: (data: T) => void;
}

export function useLoad<T>(fetchData: (signal: AbortSignal) => Promise<T>, key: unknown): Loaded<T> {
  const [round, setRound] = useState(0);
  const [state, setState] = useState<{ data: T | null; error: unknown; key: unknown; isLoading: boolean }>({
    data: null,
    error: null,
    key,
    isLoading: true,
  });
  useEffect(() => {
    const controller = new AbortController();
    setState((before) => ({ ...before, data: before.key === key ? before.data : null, key, isLoading: true }));
    fetchData(controller.signal).then(
      (data) => !controller.signal.aborted && setState({ data, error: null, key, isLoading: false }),
      (error: unknown) =>
        !controller.signal.aborted && setState((before) => ({ ...before, error, isLoading: false })),
    );
    return () => controller.abort();
    // What is fetched is told by the key; the function is new with each rendering.
  }, [key, round]);
  const hasFailed = state.error !== null;
  const reload = useCallback(() => setRound((count) => count + 1), []);
  useEffect(() => (hasFailed ? attempts.subscribe(reload) : undefined), [hasFailed, reload]);
  const set = useCallback((data: T) => setState((before) => ({ ...before, data, error: null })), []);
  return { ...state, data: state.key === key ? state.data : null, reload, set };
}
