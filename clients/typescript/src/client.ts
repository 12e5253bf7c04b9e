// The client: every operation of the API by method and path, with tokens, retries and problems taken care of.

import { isProblem, NetworkError } from "./errors.js";
import { List } from "./lists.js";
import { abortable, DEFAULT_RETRIES, pauseBefore, sleep, type RetryPolicy } from "./retry.js";
import { AuthResource, PostsResource, UsersResource } from "./resources.js";
import { SessionKeeper, type SessionState, type Tokens } from "./session.js";
import { alone, browserStore, browserTabs, hasBrowserStorage, memoryStore } from "./store.js";
import type { SessionRecord, SessionStore, Tabs } from "./store.js";
import { contentOf, csrfHeader, etagOf, newIdempotencyKey, send, type Fetch, type Request } from "./transport.js";
import type {
  Answer,
  CallOptions,
  CommonOptions,
  ItemOf,
  KeyedPath,
  ListPath,
  Method,
  OperationAt,
  OptionalIfEmpty,
  PathWith,
  QueryOf,
  ResultOf,
} from "./types.js";

export interface ClientOptions {
  /** Where the API is: scheme, host, port and prefix, without `/api/v1`. */
  readonly baseUrl: string;
  /**
   * How the refresh token travels: in JSON, and then it is kept in `store`, or in a cookie that scripts can't read.
   * A cookie needs a service that shares the page's site.
   */
  readonly transport?: "body" | "cookie";
  /** Where the session outlives the page: localStorage in a browser, memory elsewhere. */
  readonly store?: SessionStore;
  /** How those who share `store` take turns: Web Locks and BroadcastChannel in a browser. */
  readonly tabs?: Tabs;
  readonly retry?: Partial<RetryPolicy>;
  /** After how long a request is given up. */
  readonly timeoutMs?: number;
  /** Called before the wait for another try, so that a page can tell its reader. */
  readonly onWait?: (wait: { readonly error: Error; readonly ms: number; readonly attempt: number }) => void;
  readonly fetch?: Fetch;
}

/** How a call presents itself: by the access token if there is one, or by nothing but cookies. */
export interface Presentation {
  readonly token: boolean;
  readonly cookies: boolean;
  readonly csrfToken?: string | undefined;
}

const BY_TOKEN: Presentation = { token: true, cookies: false };
const DEFAULT_TIMEOUT_MS = 20_000;
// Twice this is less than the 10 seconds for which the service still takes a refresh token that it has replaced.
const REFRESH_TIMEOUT_MS = 4_000;
const AUTH = "/api/v1/auth";
// The compiler holds this list to the document.
const KEYED: Record<KeyedPath, true> = { "/api/v1/posts": true, "/api/v1/users": true };

interface LooseOptions extends CommonOptions {
  readonly params?: object | undefined;
  readonly query?: object | undefined;
  readonly body?: unknown;
  readonly known?: Answer<unknown> | undefined;
}

export class Gatepost {
  readonly auth: AuthResource;
  readonly posts: PostsResource;
  readonly users: UsersResource;
  /** Whether the refresh token travels as a cookie. */
  readonly usesCookies: boolean;
  readonly #session: SessionKeeper;
  readonly #tabs: Tabs;
  readonly #baseUrl: string;
  readonly #fetch: Fetch;
  readonly #retry: RetryPolicy;
  readonly #timeoutMs: number;
  readonly #onWait: ClientOptions["onWait"];

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
    this.#tabs = options.tabs ?? (isPage ? browserTabs(name) : alone);
    this.#session = new SessionKeeper(store, this.#tabs, (record) => this.#exchange(record));
    this.auth = new AuthResource(this, this.#session);
    this.posts = new PostsResource(this);
    this.users = new UsersResource(this);
  }

  /** Who is signed in. The same object until that changes. */
  get session(): SessionState {
    return this.#session.state;
  }

  /** Be told when `session` changes, in this tab or another; returns how to stop that. */
  onSessionChange(listener: () => void): () => void {
    return this.#session.subscribe(listener);
  }

  /** Stop listening to other tabs. */
  close(): void {
    this.#tabs.close();
  }

  /** Call one operation of the document, by method and path. */
  async call<M extends Method, P extends PathWith<M>>(
    method: M,
    path: P,
    ...[options]: OptionalIfEmpty<CallOptions<M, P>>
  ): Promise<Answer<ResultOf<OperationAt<M, P>>>> {
    return (await this.perform(method, path, options ?? {})) as Answer<ResultOf<OperationAt<M, P>>>;
  }

  /** Walk a list of the document, by path. */
  list<P extends ListPath>(
    path: P,
    options: Omit<CallOptions<"get", P>, "query" | "known" | "ifMatch" | "idempotencyKey"> & {
      query?: Omit<QueryOf<OperationAt<"get", P>>, "page"> | undefined;
    },
  ): List<ItemOf<P>> {
    const { query, ...others } = options as LooseOptions & { query?: { cursor?: string } };
    return new List<ItemOf<P>>(async (cursor) => {
      const { data } = await this.perform("get", path, { ...others, query: { ...query, cursor } });
      const { items, pagination } = data as {
        items: ItemOf<P>[];
        pagination: { next_cursor: string | null; prev_cursor: string | null };
      };
      return { items, nextCursor: pagination.next_cursor, prevCursor: pagination.prev_cursor };
    }, query?.cursor);
  }

  /** @internal What `call` does, for those who know their types. */
  async perform(
    method: string,
    path: string,
    options: LooseOptions,
    presentation: Presentation = BY_TOKEN,
  ): Promise<Answer<unknown>> {
    const headers: Record<string, string> = csrfHeader(presentation.csrfToken);
    if (method === "post" && path in KEYED) {
      headers["Idempotency-Key"] = options.idempotencyKey ?? newIdempotencyKey();
    }
    if (options.ifMatch !== undefined) {
      headers["If-Match"] = etagOf(options.ifMatch);
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
      withCookies: presentation.cookies,
      signal: options.signal,
    };
    const mayRepeat = method !== "post" || "Idempotency-Key" in headers;
    const response = await this.#repeat(mayRepeat, options.signal, () =>
      presentation.token ? this.#sendAsCaller(request) : this.#send(request),
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
        const ms = mayRepeat ? pauseBefore(attempt, error, this.#retry) : null;
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
      // Somebody else may have signed in meanwhile: what one person asked for must not be done as another.
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
        // Perhaps only the answer was lost. A token that was just replaced is good for a moment: use that moment.
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
