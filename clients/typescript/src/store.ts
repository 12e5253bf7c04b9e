// Where the session is stored, and how the tabs of a browser coordinate.

/** The stored session. Of two records, the one with the greater version is the newer. */
export interface SessionRecord {
  readonly version: number;
  /** The id of the signed-in user; null after the end of a session. */
  readonly account: number | null;
  /** Absent if the browser stores it in a cookie that scripts cannot read. */
  readonly refreshToken?: string | undefined;
  readonly csrfToken?: string | undefined;
}

/** Stores the record. Access tokens are not stored; they stay in memory. */
export interface SessionStore {
  read(): SessionRecord | null;
  write(record: SessionRecord): void;
}

/** A store in memory, for Node and for browsers without storage. Its content is lost with the process or page. */
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

/** Return whether this is a page that may use localStorage. */
export function hasBrowserStorage(): boolean {
  try {
    return typeof document !== "undefined" && globalThis.localStorage !== undefined;
  } catch {
    return false; // the browser throws where cookies and site data are blocked
  }
}

/** How the tabs of a browser coordinate: a lock and messages. */
export interface Tabs {
  /** Run `work` while no other tab does. */
  withLock<T>(work: () => Promise<T>): Promise<T>;
  broadcast(message: unknown): void;
  listen(listener: (message: unknown) => void): void;
  close(): void;
}

/** For a client that shares its store with no other tab: no lock and no messages. */
export const singleTab: Tabs = {
  withLock: (work) => work(),
  broadcast: () => undefined,
  listen: () => undefined,
  close: () => undefined,
};

/** Web Locks and BroadcastChannel, each if the browser has it. */
export function browserTabs(name: string): Tabs {
  const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel(name);
  const locks = typeof navigator === "undefined" ? undefined : (navigator.locks as LockManager | undefined);
  return {
    // Without locks two tabs may refresh at the same time. The service gives both the same new generation then.
    withLock: (work) => (locks ? locks.request(name, work) : work()) as ReturnType<typeof work>,
    broadcast: (message) => channel?.postMessage(message),
    listen: (listener) => channel?.addEventListener("message", (event) => listener(event.data)),
    close: () => channel?.close(),
  };
}
