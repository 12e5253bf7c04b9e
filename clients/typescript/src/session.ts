// The session: who is signed in, the access token in memory, and one refresh for all who need it.

import { ProblemError } from "./errors.js";
import type { SessionRecord, SessionStore, Tabs } from "./store.js";
import type { Schemas } from "./types.js";

/** Who is signed in, or why nobody is: `ended` when the service no longer takes the session's tokens. */
export type SessionState =
  | { readonly status: "signed_in"; readonly account: number }
  | { readonly status: "signed_out"; readonly why: "never" | "signed_out" | "ended"; readonly problem?: Ending };

/** What the service said when it ended a session. */
export interface Ending {
  readonly code: string;
  readonly detail: string;
}

/** The answer to a login, registration or refresh; what a cookie carries is not in it. */
export type Tokens = Pick<Schemas["RefreshedTokens"], "access_token"> & {
  readonly refresh_token?: string;
  readonly csrf_token?: string;
};

interface Message {
  readonly record: SessionRecord;
  readonly accessToken: string | null;
  readonly state: SessionState;
}

/** How long a tab that sees the outcome of another's refresh in the store waits for the access token to arrive too. */
const MESSAGE_MS = 100;

const NEVER: SessionState = { status: "signed_out", why: "never" };

export class SessionKeeper {
  #record: SessionRecord | null = null;
  #accessToken: string | null = null;
  #state: SessionState = NEVER;
  #renewing: Promise<string | null> | null = null;
  /** When the record was last taken from the store, where another tab had put it. */
  #takenAt = -Infinity;
  readonly #listeners = new Set<() => void>();
  readonly #store: SessionStore;
  readonly #tabs: Tabs;
  readonly #exchange: (record: SessionRecord) => Promise<Tokens>;

  constructor(store: SessionStore, tabs: Tabs, exchange: (record: SessionRecord) => Promise<Tokens>) {
    this.#store = store;
    this.#tabs = tabs;
    this.#exchange = exchange;
    this.#readStore();
    this.#takenAt = -Infinity; // by a page that is gone
    tabs.listen((message) => this.#hear(message as Message));
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

  /** The id of the user who is signed in, as the newest record has it. */
  account(): number | null {
    this.#readStore();
    return this.#record?.account ?? null;
  }

  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Begin a session with the answer to a login. */
  begin(account: number, tokens: Tokens): void {
    this.#write(account, tokens, { status: "signed_in", account });
  }

  /** Forget the session, in every tab. */
  end(why: "signed_out" | "ended", problem?: Ending): void {
    this.#write(null, null, { status: "signed_out", why, ...(problem && { problem }) });
  }

  /**
   * Return an access token other than `spent`, or null when nobody is signed in. However many ask at once, in however
   * many tabs, one refresh serves them all. When the service refuses it, the session has ended and its problem is thrown.
   */
  renew(spent: string | null): Promise<string | null> {
    if (this.#accessToken !== null && this.#accessToken !== spent) {
      return Promise.resolve(this.#accessToken);
    }
    this.#renewing ??= this.#tabs.takeTurns(() => this.#renewInTurn(spent)).finally(() => {
      this.#renewing = null;
    });
    return this.#renewing;
  }

  async #renewInTurn(spent: string | null): Promise<string | null> {
    // Another tab may have been here while this one waited.
    this.#readStore();
    await this.#hearOthers();
    const known = this.#readStore();
    if (known?.account == null || (this.#accessToken !== null && this.#accessToken !== spent)) {
      return this.#accessToken;
    }
    try {
      return this.#renewed(known, await this.#exchange(known));
    } catch (error) {
      if (!(error instanceof ProblemError) || error.status !== 401) {
        throw error; // no answer, or "try again later": still signed in
      }
      const newer = this.#readStore();
      if (newer !== known) {
        // A tab that takes no turns was faster, and our token was too old by then.
        return newer?.account === known.account ? this.#renewed(newer, await this.#exchange(newer)) : this.#accessToken;
      }
      this.end("ended", { code: error.code, detail: error.message });
      throw error;
    }
  }

  /** Wait for the message of a tab that has just refreshed. */
  async #hearOthers(): Promise<void> {
    const deadline = this.#takenAt + MESSAGE_MS;
    while (this.#accessToken === null && performance.now() < deadline) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  #renewed(known: SessionRecord, tokens: Tokens): string | null {
    if (this.#readStore()?.account !== known.account) {
      return this.#accessToken; // signed out meanwhile: the answer came too late
    }
    this.#write(known.account, tokens, this.#state);
    return this.#accessToken;
  }

  /** Take the stored record where it is newer than ours: then another tab wrote it, and our access token is older. */
  #readStore(): SessionRecord | null {
    const stored = this.#store.read();
    if (stored && stored.version > (this.#record?.version ?? 0)) {
      this.#adopt(stored, null, stateOf(stored));
      this.#takenAt = performance.now();
    }
    return this.#record;
  }

  #write(account: number | null, tokens: Tokens | null, state: SessionState): void {
    const before = Math.max(this.#record?.version ?? 0, this.#store.read()?.version ?? 0);
    // Tabs share the machine's clock, so a later sign-in has a greater version than any earlier one.
    const version = Math.max(before + 1, Date.now());
    const record = { version, account, refreshToken: tokens?.refresh_token, csrfToken: tokens?.csrf_token };
    this.#store.write(record);
    const accessToken = tokens?.access_token ?? null;
    this.#tabs.tell({ record, accessToken, state } satisfies Message);
    this.#adopt(record, accessToken, state);
  }

  #hear(message: Message): void {
    const ours = this.#record?.version ?? 0;
    if (message.record.version > ours) {
      this.#adopt(message.record, message.accessToken, message.state);
    } else if (message.record.version === ours) {
      // The store was faster than the message, which knows more.
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
    ? { status: "signed_out", why: "signed_out" }
    : { status: "signed_in", account: record.account };
}
