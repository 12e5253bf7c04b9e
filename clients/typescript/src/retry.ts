// Which failed requests are retried, and after what delay.

import { isProblem, ProblemError, UnexpectedAnswerError } from "./errors.js";

export interface RetryPolicy {
  /** The maximum number of retries of a request; 0 disables them. */
  readonly retries: number;
  /** The longest delay before a retry. If Retry-After is longer, the error is thrown instead. */
  readonly maxWaitMs: number;
}

export const DEFAULT_RETRIES: RetryPolicy = { retries: 3, maxWaitMs: 10_000 };

const FIRST_DELAY_MS = 500;
const MAX_JITTER_MS = 250;

/** Return the delay in ms before the retry after failure number `attempt` (from 1), or null for no retry. */
export function retryDelay(attempt: number, error: unknown, policy: RetryPolicy): number | null {
  if (attempt > policy.retries || !isTemporary(error)) {
    return null;
  }
  const seconds = error.retryAfter;
  const wait = seconds === null ? FIRST_DELAY_MS * 2 ** (attempt - 1) : seconds * 1000;
  // Random jitter, so that clients that were refused together do not retry together.
  return wait > policy.maxWaitMs ? null : wait + Math.random() * MAX_JITTER_MS;
}

function isTemporary(error: unknown): error is ProblemError | UnexpectedAnswerError {
  if (isProblem(error, "idempotency_in_progress")) {
    return true;
  }
  return (
    (error instanceof ProblemError || error instanceof UnexpectedAnswerError) &&
    (error.status === 429 || error.status === 503)
  );
}

/** Return the seconds of a Retry-After header, which is a number or a date (RFC 9110 section 10.2.3), or null. */
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

/** Wait. Rejects with the reason of `signal` when it aborts. */
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

/** Return the outcome of `work`, or reject with the reason of `signal` when it aborts. Does not stop `work`. */
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
