// Sends one request and reads its response: URLs, headers, JSON and errors. Stateless.

import { NetworkError, ProblemError, UnexpectedAnswerError } from "./errors.js";
import { parseRetryAfter } from "./retry.js";
import type { Problem, Tag } from "./types.js";

export type Fetch = (url: string, init: RequestInit) => Promise<Response>;

export interface Request {
  readonly method: string;
  /** A path template of the OpenAPI document, such as `/api/v1/posts/{post_id}`. */
  readonly path: string;
  readonly params?: Record<string, unknown> | undefined;
  readonly query?: Record<string, unknown> | undefined;
  readonly body?: unknown;
  readonly headers: Readonly<Record<string, string>>;
  readonly withCookies: boolean;
  readonly signal?: AbortSignal | undefined;
}

/** Send a request and return a successful response or a 304. Rejects with an error otherwise. */
export async function send(fetch: Fetch, baseUrl: string, request: Request, timeoutMs: number): Promise<Response> {
  const headers: Record<string, string> = { Accept: "application/json, application/problem+json", ...request.headers };
  const init: RequestInit = { method: request.method.toUpperCase(), headers, cache: "no-store" };
  if (request.body !== undefined) {
    headers["Content-Type"] = "application/json";
    init.body = JSON.stringify(request.body);
  }
  // Cookies are only sent if the refresh token is in one. The access token authenticates all other requests.
  init.credentials = request.withCookies ? "include" : "omit";
  const timeout = AbortSignal.timeout(timeoutMs);
  init.signal = request.signal ? AbortSignal.any([request.signal, timeout]) : timeout;
  try {
    const response = await fetch(baseUrl + urlOf(request), init);
    if (response.ok || response.status === 304) {
      return response;
    }
    throw await errorOf(response);
  } catch (error) {
    request.signal?.throwIfAborted();
    throw asNetworkError(error);
  }
}

function asNetworkError(error: unknown): unknown {
  // fetch throws TypeError for every failure without a response, and the timeout signal throws TimeoutError.
  const isNetworkFailure = error instanceof TypeError || (error instanceof DOMException && error.name === "TimeoutError");
  return isNetworkFailure ? new NetworkError("The service cannot be reached.", { cause: error }) : error;
}

function urlOf(request: Request): string {
  const path = request.path.replace(/\{(\w+)\}/g, (_, name: string) => {
    const value = request.params?.[name];
    if (value === undefined) {
      throw new RangeError(`${request.path} needs params.${name}.`);
    }
    return encodeURIComponent(String(value));
  });
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(request.query ?? {})) {
    if (value !== undefined) {
      query.append(name, String(value));
    }
  }
  return query.size ? `${path}?${query}` : path;
}

async function errorOf(response: Response): Promise<Error> {
  const retryAfter = parseRetryAfter(response.headers.get("Retry-After"));
  if (mediaType(response) === "application/problem+json") {
    try {
      return new ProblemError((await response.json()) as Problem, retryAfter);
    } catch (error) {
      if (!(error instanceof SyntaxError)) {
        throw error;
      }
    }
  }
  return new UnexpectedAnswerError(response.status, retryAfter);
}

/** Return the content of a response: parsed JSON, other content as text, undefined for a 204. */
export async function contentOf(response: Response): Promise<unknown> {
  if (response.status === 204) {
    return undefined;
  }
  try {
    return await (mediaType(response) === "application/json" ? response.json() : response.text());
  } catch (error) {
    throw asNetworkError(error); // the connection was lost
  }
}

function mediaType(response: Response): string | undefined {
  return response.headers.get("Content-Type")?.split(";")[0]?.trim().toLowerCase();
}

export function etagOf(tag: Tag): string {
  const etag = typeof tag === "string" ? tag : tag.etag;
  if (etag === null) {
    throw new RangeError("This response has no ETag.");
  }
  return etag;
}

export function csrfHeader(token: string | undefined): Record<string, string> {
  return token === undefined ? {} : { "X-CSRF-TOKEN": token };
}

/** Return a random key. `crypto.randomUUID` is not available in pages that were loaded over plain HTTP. */
export function newIdempotencyKey(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
