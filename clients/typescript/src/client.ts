// The client: calls every operation of the API by method and path. Manages tokens, retries and errors.

import { AuthResource } from "./auth.js";
import { isProblem, NetworkError } from "./errors.js";
import type { paths } from "./generated.js";
import { List } from "./lists.js";
import { methodOf, type Operations } from "./operations.js";
import { abortable, DEFAULT_RETRIES, retryDelay, sleep, type RetryPolicy } from "./retry.js";
import { SessionManager, type SessionState, type Tokens } from "./session.js";
import { singleTab, browserStore, browserTabs, hasBrowserStorage, memoryStore } from "./store.js";
import type { SessionRecord, SessionStore, Tabs } from "./store.js";
import { contentOf, csrfHeader, etagOf, newIdempotencyKey, send, type Fetch, type Request } from "./transport.js";
import type {
  Answer,
  CallOptions,
  CommonOptions,
  ItemOf,
  ListOptions,
  ListPath,
  Method,
  OperationAt,
  OptionalIfEmpty,
  PathWith,
  ResultOf,
} from "./types.js";

export interface ClientOptions {
  /** The address of the API: scheme, host, port and prefix, without `/api/v1`. */
  readonly baseUrl: string;
  /**
   * How the refresh token is transmitted: in the body, and stored in `store`, or in a cookie that scripts cannot read.
   * A cookie requires that the page and the API are on the same site.
   */
  readonly transport?: "body" | "cookie";
  /** Where the session is stored: by default in localStorage in a browser, in memory elsewhere. */
  readonly store?: SessionStore;
  /** How the tabs that share `store` coordinate: by default with Web Locks and BroadcastChannel in a browser. */
  readonly tabs?: Tabs;
  readonly retry?: Partial<RetryPolicy>;
  /** The time after which a request fails with NetworkError; 20,000 by default. */
  readonly timeoutMs?: number;
  /** Called before each wait for a retry, for example to show a message. */
  readonly onWait?: (wait: { readonly error: Error; readonly ms: number; readonly attempt: number }) => void;
  readonly fetch?: Fetch;
}

/** What authenticates a request: the access token, if there is one, or cookies. */
export interface Credentials {
  readonly token: boolean;
  readonly cookies: boolean;
  readonly csrfToken?: string | undefined;
}

const BY_TOKEN: Credentials = { token: true, cookies: false };
const DEFAULT_TIMEOUT_MS = 20_000;
// Shorter than other requests, because all tabs wait for a refresh. Twice this is less than the 10 seconds for which the
// service accepts a replaced refresh token in any case.
const REFRESH_TIMEOUT_MS = 4_000;
const AUTH = "/api/v1/auth";

interface UntypedOptions extends CommonOptions {
  readonly params?: object | undefined;
  readonly query?: object | undefined;
  readonly body?: unknown;
  readonly known?: Answer<unknown> | undefined;
}

/**
 * A client of an OpenAPI document with these paths. The generated class `Gatepost` extends it by the resources of its
 * document; `auth` is the same in all of them.
 */
export class Client<Paths = paths> {
  readonly auth: AuthResource;
  /** Whether the refresh token is transmitted in a cookie. */
  readonly usesCookies: boolean;
  readonly #session: SessionManager;
  readonly #tabs: Tabs;
  readonly #baseUrl: string;
  readonly #fetch: Fetch;
  readonly #retry: RetryPolicy;
  readonly #timeoutMs: number;
  readonly #onWait: ClientOptions["onWait"];
  /** The operations that accept an Idempotency-Key. */
  readonly #idempotent = new Set<string>();

  constructor(options: ClientOptions) {
    this.#baseUrl = options.baseUrl.replace(/\/+$/, "");
    this.#fetch = options.fetch ?? ((url, init) => fetch(url, init));
    this.#retry = { ...DEFAULT_RETRIES, ...options.retry };
    this.#timeoutMs = options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
    this.#onWait = options.onWait;
    this.usesCookies = options.transport === "cookie";
    const name = `gatepost:${this.#baseUrl}`;
    const isPage = options.store === undefined && hasBrowserStorage();
    const store = options.store ?? (isPage ? browserStore(name) : memoryStore());
    this.#tabs = options.tabs ?? (isPage ? browserTabs(name) : singleTab);
    this.#session = new SessionManager(store, this.#tabs, (record) => this.#exchange(record));
    // The routes of `auth` are the same in every document.
    this.auth = new AuthResource(this as unknown as Client, this.#session);
  }

  /** Return the methods of a resource. */
  protected makeResource<Resource extends object>(operations: Operations<keyof Resource & string>): Resource {
    const methods: Record<string, unknown> = {};
    for (const [name, operation] of Object.entries<string>(operations)) {
      methods[name] = methodOf(this as unknown as Client, operation);
      if (operation.endsWith(" key")) {
        this.#idempotent.add(operation.split(" ", 2).join(" "));
      }
    }
    return methods as Resource;
  }

  /** The state of the session. The same object until it changes. */
  get session(): SessionState {
    return this.#session.state;
  }

  /** Call `listener` after each change of `session`, in this tab or another. Returns a function that unsubscribes it. */
  onSessionChange(listener: () => void): () => void {
    return this.#session.subscribe(listener);
  }

  /** Stop receiving messages of other tabs. */
  close(): void {
    this.#tabs.close();
  }

  /** Call an operation of the OpenAPI document by method and path. Rejects with ProblemError or NetworkError. */
  async call<M extends Method, P extends PathWith<M, Paths>>(
    method: M,
    path: P,
    ...[options]: OptionalIfEmpty<CallOptions<M, P, Paths>>
  ): Promise<Answer<ResultOf<OperationAt<M, P, Paths>>>> {
    const answer = await this.perform(method, path as string, (options ?? {}) as UntypedOptions);
    return answer as Answer<ResultOf<OperationAt<M, P, Paths>>>;
  }

  /** Return a list of the OpenAPI document by path. Its pages are fetched when they are needed. */
  list<P extends ListPath<Paths>>(
    path: P,
    options: Pick<CallOptions<"get", P, Paths>, "params" | "signal"> & ListOptions<OperationAt<"get", P, Paths>>,
  ): List<ItemOf<P, Paths>> {
    const { query, ...others } = options as UntypedOptions & { query?: { cursor?: string } };
    return new List<ItemOf<P, Paths>>(async (cursor) => {
      const { data } = await this.perform("get", path as string, { ...others, query: { ...query, cursor } });
      const { items, pagination } = data as {
        items: ItemOf<P, Paths>[];
        pagination: { next_cursor: string | null; prev_cursor: string | null };
      };
      return { items, nextCursor: pagination.next_cursor, prevCursor: pagination.prev_cursor };
    }, query?.cursor);
  }

  /** @internal The same as `call`, without types. */
  async perform(
    method: string,
    path: string,
    options: UntypedOptions,
    credentials: Credentials = BY_TOKEN,
  ): Promise<Answer<unknown>> {
    const headers: Record<string, string> = csrfHeader(credentials.csrfToken);
    if (options.idempotencyKey !== undefined || this.#idempotent.has(`${method} ${path}`)) {
      headers["Idempotency-Key"] = options.idempotencyKey ?? newIdempotencyKey();
    }
    if (options.ifMatch !== undefined) {
      headers["If-Match"] = etagOf(options.ifMatch);
    }
    if (options.ifAbsent) {
      headers["If-None-Match"] = "*";
    }
    if (options.known) {
      headers["If-None-Match"] = etagOf(options.known);
    }
    const request: Request = {
      method,
      path,
      headers,
      params: options.params as Record<string, unknown> | undefined,
      query: options.query as Record<string, unknown> | undefined,
      body: options.body,
      withCookies: credentials.cookies,
      signal: options.signal,
    };
    const mayRepeat = method !== "post" || "Idempotency-Key" in headers;
    const response = await this.#repeat(mayRepeat, options.signal, () =>
      credentials.token ? this.#sendAsCaller(request) : this.#send(request),
    );
    if (response.status === 304 && options.known) {
      return options.known;
    }
    return {
      data: await contentOf(response),
      status: response.status,
      etag: response.headers.get("ETag"),
      location: response.headers.get("Location"),
      replayed: response.headers.get("Idempotency-Replayed") === "true",
      requestId: response.headers.get("X-Request-ID"),
    };
  }

  async #repeat<T>(mayRepeat: boolean, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await work();
      } catch (error) {
        const ms = mayRepeat ? retryDelay(attempt, error, this.#retry) : null;
        if (ms === null) {
          throw error;
        }
        this.#onWait?.({ error: error as Error, ms, attempt });
        await sleep(ms, signal);
      }
    }
  }

  async #sendAsCaller(request: Request): Promise<Response> {
    const account = this.#session.account();
    if (account === null) {
      return this.#send(request);
    }
    const token = this.#session.accessToken ?? (await abortable(this.#session.renew(null), request.signal));
    try {
      return await this.#send(authorized(request, token));
    } catch (error) {
      if (!isProblem(error, "token_expired", "token_revoked", "token_invalid")) {
        throw error;
      }
      const next = await abortable(this.#session.renew(token), request.signal);
      // Another user may have signed in meanwhile. The request must not be sent with that user's token.
      if (next === null || this.#session.account() !== account) {
        throw error;
      }
      return this.#send(authorized(request, next));
    }
  }

  async #exchange(record: SessionRecord): Promise<Tokens> {
    const path = `${AUTH}/refresh`;
    const options = { body: this.usesCookies ? { cookie: true } : { refresh_token: record.refreshToken } };
    const request: Request = {
      method: "post",
      path,
      headers: csrfHeader(record.csrfToken),
      body: options.body,
      withCookies: this.usesCookies,
    };
    const attempt = async () => (await contentOf(await this.#send(request, REFRESH_TIMEOUT_MS))) as Tokens;
    return this.#repeat(true, undefined, async () => {
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof NetworkError)) {
          throw error;
        }
        // Only the response may have been lost. The service accepts the replaced token until the new one was used.
        return attempt();
      }
    });
  }

  #send(request: Request, atMostMs = Infinity): Promise<Response> {
    return send(this.#fetch, this.#baseUrl, request, Math.min(this.#timeoutMs, atMostMs));
  }
}

function authorized(request: Request, token: string | null): Request {
  return token === null ? request : { ...request, headers: { ...request.headers, Authorization: `Bearer ${token}` } };
}
