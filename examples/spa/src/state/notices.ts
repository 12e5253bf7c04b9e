// Short messages that disappear after some seconds. Screen readers read them out.

import { Store } from "./store";

export interface Notice {
  readonly id: number;
  readonly text: string;
  readonly isError: boolean;
}

const SHOWN_MS = 6_000;
export const notices = new Store<readonly Notice[]>([]);
let last = 0;

export function notify(text: string, isError = false): void {
  const notice = { id: ++last, text, isError };
  // A new message replaces confirmations, and all errors but the last.
  notices.update((shown) => [...shown.filter((other) => other.isError).slice(-1), notice]);
  setTimeout(() => dismiss(notice.id), SHOWN_MS);
}

export function dismiss(id: number): void {
  notices.update((shown) => shown.filter((notice) => notice.id !== id));
}
