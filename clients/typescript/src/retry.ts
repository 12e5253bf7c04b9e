// When a refused request is sent again, and how long to wait before.

import { isProblem, ProblemError, UnexpectedAnswerError } from "./errors.js";

export interface RetryPolicy {
  /** How often a request is sent again; 0 for never. */
  readonly retries: number;
  /** A longer wait than this is not waited for: the error says how long it would be. */
  readonly maxWaitMs: number;
}

export const DEFAULT_RETRIES: RetryPolicy = { retries: 3, maxWaitMs: 10_000 };

const FIRST_PAUSE_MS = 500;
const SPREAD_MS = 250;

/** How long to wait before sending again what failed with `error` for the `attempt`th time (from 1); null: don't. */
export function pauseBefore(attempt: number, error: unknown, policy: RetryPolicy): number | null {
  if (attempt > policy.retries || !mayPass(error)) {
    return null;
  }
  const told = error.retryAfter;
  const wait = told === null ? FIRST_PAUSE_MS * 2 ** (attempt - 1) : told * 1000;
  // Spread a little, or all who were refused together would come back together.
  return wait > policy.maxWaitMs ? null : wait + Math.random() * SPREAD_MS;
}

function mayPass(error: unknown): error is ProblemError | UnexpectedAnswerError {
  if (isProblem(error, "idempotency_in_progress")) {
    return true;
  }
  return (
    (error instanceof ProblemError || error instanceof UnexpectedAnswerError) &&
    (error.status === 429 || error.status === 503)
  );
}

/** Retry-After in seconds: it may be a number of them or a date (RFC 9110 section 10.2.3). */
export function parseRetryAfter(value: string | null, now = Date.now()): number | null {
  if (value === null) {
    return null;
  }
  if (/^\d+$/.test(value)) {
    return Number(value);
  }
  const date = Date.parse(value);
  return Number.isNaN(date) ? null : Math.max(0, Math.ceil((date - now) / 1000));
}

/** Wait, unless `signal` ends it with an error. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason as Error);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal?.aborted) {
      stop();
    } else {
      signal?.addEventListener("abort", stop, { once: true });
    }
  });
}

/** The outcome of `work`, which goes on for others, or the reason of `signal` if that comes first. */
export function abortable<T>(work: Promise<T>, signal?: AbortSignal): Promise<T> {
  if (!signal) {
    return work;
  }
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const stop = () => reject(signal.reason as Error);
    signal.addEventListener("abort", stop, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
  });
}
