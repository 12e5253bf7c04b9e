// What outlives a page: where it is kept, and how the tabs of one browser agree on it.

/** All that is remembered of a sign-in. Of two records the one with the greater version is the newer. */
export interface SessionRecord {
  readonly version: number;
  /** The id of the user who is signed in; null after the end of a session. */
  readonly account: number | null;
  /** Absent where the browser keeps it in a cookie that scripts can't read. */
  readonly refreshToken?: string | undefined;
  readonly csrfToken?: string | undefined;
}

/** Where the record is kept. Access tokens are not in it: they stay in memory. */
export interface SessionStore {
  read(): SessionRecord | null;
  write(record: SessionRecord): void;
}

/** Forgets everything with the process or page: for Node, and for browsers that allow no storage. */
export function memoryStore(): SessionStore {
  let kept: SessionRecord | null = null;
  return {
    read: () => kept,
    write: (record) => {
      kept = record;
    },
  };
}

/** Keeps the record in the browser, for all tabs of this origin. */
export function browserStore(name: string, storage: Storage = localStorage): SessionStore {
  return {
    read: () => parse(storage.getItem(name)),
    write: (record) => storage.setItem(name, JSON.stringify(record)),
  };
}

function parse(text: string | null): SessionRecord | null {
  try {
    const value = JSON.parse(text ?? "null") as Partial<SessionRecord> | null;
    return typeof value?.version === "number" ? { ...value, version: value.version, account: value.account ?? null } : null;
  } catch {
    return null;
  }
}

/** Whether this is a page that may store something. */
export function hasBrowserStorage(): boolean {
  try {
    return typeof document !== "undefined" && globalThis.localStorage !== undefined;
  } catch {
    return false; // the browser throws where cookies and site data are blocked
  }
}

/** How the tabs of one browser take turns and tell each other. */
export interface Tabs {
  /** Run `work` while no other tab runs any. */
  takeTurns<T>(work: () => Promise<T>): Promise<T>;
  tell(message: unknown): void;
  listen(listener: (message: unknown) => void): void;
  close(): void;
}

/** A tab of its own: nobody to wait for, nobody to tell. */
export const alone: Tabs = {
  takeTurns: (work) => work(),
  tell: () => undefined,
  listen: () => undefined,
  close: () => undefined,
};

/** Web Locks and BroadcastChannel, each where there is one. */
export function browserTabs(name: string): Tabs {
  const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(name);
  const locks = typeof navigator === "undefined" ? undefined : (navigator.locks as LockManager | undefined);
  return {
    // Without locks two tabs may refresh at once: the server then gives both the same new generation.
    takeTurns: (work) => (locks ? locks.request(name, work) : work()) as ReturnType<typeof work>,
    tell: (message) => channel?.postMessage(message),
    listen: (listener) => channel?.addEventListener("message", (event) => listener(event.data)),
    close: () => channel?.close(),
  };
}
