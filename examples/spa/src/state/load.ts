// Loads the data of a page. Aborts when the user leaves the page, and retries when the service is available again.

import { useCallback, useEffect, useState } from "react";
import { attempts } from "./connection";

export interface Loaded<T> {
  readonly data: T | null;
  readonly error: unknown;
  readonly isLoading: boolean;
  readonly reload: () => void;
  /** Show other data, such as a change whose response has not arrived. */
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
    // The key identifies the data. fetchData is a new function in each rendering.
  }, [key, round]);
  const hasFailed = state.error !== null;
  const reload = useCallback(() => setRound((count) => count + 1), []);
  useEffect(() => (hasFailed ? attempts.subscribe(reload) : undefined), [hasFailed, reload]);
  const set = useCallback((data: T) => setState((before) => ({ ...before, data, error: null })), []);
  return { ...state, data: state.key === key ? state.data : null, reload, set };
}
