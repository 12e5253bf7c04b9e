// The lists of posts, and new posts that the service has not confirmed yet.

import { newIdempotencyKey, type List, type ListedPost, type NewPost, type Post } from "@gatepost/client";
import { api } from "./api";
import { Store } from "./store";

export interface PostList {
  readonly items: readonly ListedPost[];
  /** The cursor of the next page; null at the end, undefined before the first page. */
  readonly next: string | null | undefined;
  readonly state: "idle" | "loading" | "failed";
}

const EMPTY: PostList = { items: [], next: undefined, state: "idle" };

/** A list that is loaded page by page. It is kept while the app shows another page. */
export class Feed {
  readonly store = new Store<PostList>(EMPTY);
  readonly #list: () => List<ListedPost>;
  #loading: AbortController | null = null;

  constructor(list: () => List<ListedPost>) {
    this.#list = list;
  }

  /** Load the next page, unless it is loading or there is none. */
  async more(): Promise<void> {
    const { next, state } = this.store.get();
    if (state !== "loading" && next !== null) {
      await this.#load(next);
    }
  }

  /** Load the first page again. The old items are shown until it arrives. */
  async reload(): Promise<void> {
    await this.#load(undefined);
  }

  async #load(cursor: string | undefined): Promise<void> {
    this.#loading?.abort();
    const { signal } = (this.#loading = new AbortController());
    this.store.update((before) => ({ ...before, state: "loading" }));
    try {
      const page = await this.#list().page(cursor);
      if (!signal.aborted) {
        const before = cursor === undefined ? [] : this.store.get().items;
        this.store.set({ items: merged(before, page.items), next: page.nextCursor, state: "idle" });
      }
    } catch {
      // The banner or the sign-in page reports the reason.
      if (!signal.aborted) {
        this.store.update((before) => ({ ...before, state: "failed" }));
      }
    }
  }

  clear(): void {
    this.#loading?.abort();
    this.store.set(EMPTY);
  }

  /** Replace a post in the list by its current version. */
  replace(post: ListedPost): void {
    this.store.update((before) => ({ ...before, items: before.items.map((item) => (item.id === post.id ? post : item)) }));
  }

  /** Add a post at the front. */
  add(post: ListedPost): void {
    this.store.update((before) => ({ ...before, items: [post, ...before.items.filter((item) => item.id !== post.id)] }));
  }

  /** Remove a post. Returns a function that restores it. */
  remove(id: number): () => void {
    const index = this.store.get().items.findIndex((item) => item.id === id);
    const [post] = this.store.get().items.slice(index, index + 1);
    this.store.update((before) => ({ ...before, items: before.items.filter((item) => item.id !== id) }));
    return () => {
      if (index >= 0 && post) {
        this.store.update((before) => ({ ...before, items: before.items.toSpliced(index, 0, post) }));
      }
    };
  }
}

function merged(items: readonly ListedPost[], more: readonly ListedPost[]): ListedPost[] {
  const known = new Set(items.map((item) => item.id));
  return [...items, ...more.filter((item) => !known.has(item.id))];
}

export const feed = new Feed(() => api.posts.list());
export const drafts = new Feed(() => api.posts.list({ query: { status: "draft" } }));

/** Return what a list shows of a content: its first 280 code points. */
export function excerptOf(content: string): string {
  return [...content.slice(0, 560)].slice(0, 280).join("");
}

/** Move a post to the list for its status. */
export function updateLists(post: Post): void {
  const listed = { ...post, excerpt: excerptOf(post.content) };
  const [home, other] = post.status === "draft" ? [drafts, feed] : [feed, drafts];
  other.remove(post.id);
  if (home.store.get().items.some((item) => item.id === post.id)) {
    home.replace(listed);
  } else if (home.store.get().next !== undefined) {
    home.add(listed);
  }
}

/** A new post that the service has not confirmed yet. */
export interface Outgoing {
  /** The Idempotency-Key, so that retries do not create a second post. */
  readonly key: string;
  readonly fields: NewPost;
  readonly state: "sending" | "failed";
}

export const outbox = new Store<readonly Outgoing[]>([]);

/** Send a new post. Throws on failure; unless the service has refused it, the post stays in the outbox for a retry. */
export async function send(fields: NewPost, key = newIdempotencyKey()): Promise<Post> {
  const others = () => outbox.get().filter((item) => item.key !== key);
  outbox.set([{ key, fields, state: "sending" }, ...others()]);
  try {
    const { data } = await api.posts.create(fields, { idempotencyKey: key });
    outbox.set(others());
    updateLists(data);
    return data;
  } catch (error) {
    outbox.set(isRefusal(error) ? others() : [{ key, fields, state: "failed" }, ...others()]);
    throw error;
  }
}

export function discard(key: string): void {
  outbox.update((items) => items.filter((item) => item.key !== key));
}

/** Return whether a retry of the same request would fail again. */
export function isRefusal(error: unknown): boolean {
  const { status = 0 } = error as { status?: number };
  return status >= 400 && status < 500 && status !== 429;
}
