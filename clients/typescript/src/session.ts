// The session: the signed-in user, the access token in memory, and a refresh that all concurrent requests share.

import { ProblemError } from "./errors.js";
import type { SessionRecord, SessionStore, Tabs } from "./store.js";
import type { components } from "./generated.js";

/** Whether a user is signed in. The reason is `ended` if the service has refused the tokens of the session. */
export type SessionState =
  | { readonly status: "signed_in"; readonly account: number }
  | { readonly status: "signed_out"; readonly reason: "never" | "signed_out" | "ended"; readonly problem?: Ending };

/** The problem with which the service refused the tokens of a session. */
export interface Ending {
  readonly code: string;
  readonly detail: string;
}

/** The response to a login, registration or refresh. Without the refresh token if that is in a cookie. */
export type Tokens = Pick<components["schemas"]["RefreshedTokens"], "access_token"> & {
  readonly refresh_token?: string;
  readonly csrf_token?: string;
};

interface Message {
  readonly record: SessionRecord;
  readonly accessToken: string | null;
  readonly state: SessionState;
}

/** How long a tab that finds another tab's refresh in the store waits for the message with the access token. */
const MESSAGE_MS = 100;

const NEVER: SessionState = { status: "signed_out", reason: "never" };

export class SessionManager {
  #record: SessionRecord | null = null;
  #accessToken: string | null = null;
  #state: SessionState = NEVER;
  #renewing: Promise<string | null> | null = null;
  /** When a record that another tab had written was last read from the store. */
  #readAt = -Infinity;
  readonly #listeners = new Set<() => void>();
  readonly #store: SessionStore;
  readonly #tabs: Tabs;
  readonly #exchange: (record: SessionRecord) => Promise<Tokens>;

  constructor(store: SessionStore, tabs: Tabs, exchange: (record: SessionRecord) => Promise<Tokens>) {
    this.#store = store;
    this.#tabs = tabs;
    this.#exchange = exchange;
    this.#readStore();
    this.#readAt = -Infinity; // the record of a former page: no message will follow
    tabs.listen((message) => this.#receive(message as Message));
  }

  get state(): SessionState {
    return this.#state;
  }

  get accessToken(): string | null {
    return this.#accessToken;
  }

  get csrfToken(): string | undefined {
    return this.#record?.csrfToken;
  }

  /** Return the id of the signed-in user in the newest record. */
  account(): number | null {
    this.#readStore();
    return this.#record?.account ?? null;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Start a session with the response to a login. */
  begin(account: number, tokens: Tokens): void {
    this.#write(account, tokens, { status: "signed_in", account });
  }

  /** Use another access token of the same session, in this tab only, unless another user has signed in meanwhile. */
  replaceAccessToken(account: number | null, accessToken: string): void {
    if (account !== null && this.#record?.account === account) {
      this.#accessToken = accessToken;
    }
  }

  /** End the session in every tab. */
  end(reason: "signed_out" | "ended", problem?: Ending): void {
    this.#write(null, null, { status: "signed_out", reason, ...(problem && { problem }) });
  }

  /**
   * Return an access token other than `expired`, or null if no user is signed in. Concurrent calls, in all tabs, share
   * one refresh. If the service refuses it, the session ends and the problem is thrown.
   */
  renew(expired: string | null): Promise<string | null> {
    if (this.#accessToken !== null && this.#accessToken !== expired) {
      return Promise.resolve(this.#accessToken);
    }
    this.#renewing ??= this.#tabs.withLock(() => this.#renewInTurn(expired)).finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  async #renewInTurn(expired: string | null): Promise<string | null> {
    // Another tab may have refreshed while this one waited for the lock.
    this.#readStore();
    await this.#waitForMessage();
    const known = this.#readStore();
    if (known?.account == null || (this.#accessToken !== null && this.#accessToken !== expired)) {
      return this.#accessToken;
    }
    try {
      return this.#renewed(known, await this.#exchange(known));
    } catch (error) {
      if (!(error instanceof ProblemError) || error.status !== 401) {
        throw error; // no response or a temporary failure: still signed in
      }
      const newer = this.#readStore();
      if (newer !== known) {
        // Without locks, another tab has refreshed first, and our token was too old.
        return newer?.account === known.account ? this.#renewed(newer, await this.#exchange(newer)) : this.#accessToken;
      }
      this.end("ended", { code: error.code, detail: error.message });
      throw error;
    }
  }

  /** Wait for the message of another tab that has just refreshed. */
  async #waitForMessage(): Promise<void> {
    const deadline = this.#readAt + MESSAGE_MS;
    while (this.#accessToken === null && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  #renewed(known: SessionRecord, tokens: Tokens): string | null {
    if (this.#readStore()?.account !== known.account) {
      return this.#accessToken; // signed out in the meantime
    }
    this.#write(known.account, tokens, this.#state);
    return this.#accessToken;
  }

  /** Adopt the stored record if it is newer. Another tab has written it then, and our access token is outdated. */
  #readStore(): SessionRecord | null {
    const stored = this.#store.read();
    if (stored && stored.version > (this.#record?.version ?? 0)) {
      this.#adopt(stored, null, stateOf(stored));
      this.#readAt = performance.now();
    }
    return this.#record;
  }

  #write(account: number | null, tokens: Tokens | null, state: SessionState): void {
    const before = Math.max(this.#record?.version ?? 0, this.#store.read()?.version ?? 0);
    // All tabs use the same clock, so a later sign-in has a greater version than an earlier one.
    const version = Math.max(before + 1, Date.now());
    const record = { version, account, refreshToken: tokens?.refresh_token, csrfToken: tokens?.csrf_token };
    this.#store.write(record);
    const accessToken = tokens?.access_token ?? null;
    this.#tabs.broadcast({ record, accessToken, state } satisfies Message);
    this.#adopt(record, accessToken, state);
  }

  #receive(message: Message): void {
    const ours = this.#record?.version ?? 0;
    if (message.record.version > ours) {
      this.#adopt(message.record, message.accessToken, message.state);
    } else if (message.record.version === ours) {
      // The record was read from the store before the message arrived. Only the message contains the access token.
      this.#adopt(message.record, this.#accessToken ?? message.accessToken, message.state);
    }
  }

  #adopt(record: SessionRecord, accessToken: string | null, state: SessionState): void {
    this.#record = record;
    this.#accessToken = accessToken;
    if (JSON.stringify(state) !== JSON.stringify(this.#state)) {
      this.#state = state;
      this.#listeners.forEach((listener) => listener());
    }
  }
}

function stateOf(record: SessionRecord): SessionState {
  return record.account === null
    ? { status: "signed_out", reason: "signed_out" }
    : { status: "signed_in", account: record.account };
}
