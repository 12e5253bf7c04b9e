// Lists as async iterators, which fetch one page at a time by its cursor.

/** One page of a list. */
export interface Page<T> {
  readonly items: T[];
  /** The cursor of the next page; null on the last page. */
  readonly nextCursor: string | null;
  /** The cursor of the previous page; null on the first page. */
  readonly prevCursor: string | null;
}

/**
 * A list whose pages are fetched during iteration: `for await (const post of client.posts.list()) …`.
 * The first page is fetched at the first step; no page is fetched after the loop has ended.
 */
export class List<T> implements AsyncIterable<T> {
  readonly #fetchPage: (cursor: string | undefined) => Promise<Page<T>>;
  readonly #start: string | undefined;

  constructor(fetchPage: (cursor: string | undefined) => Promise<Page<T>>, start?: string) {
    this.#fetchPage = fetchPage;
    this.#start = start;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for await (const page of this.pages()) {
      yield* page.items;
    }
  }

  /** Iterate over the pages. */
  async *pages(): AsyncGenerator<Page<T>, void, undefined> {
    let cursor: string | null | undefined = this.#start;
    do {
      const page: Page<T> = await this.#fetchPage(cursor);
      yield page;
      cursor = page.nextCursor;
    } while (cursor !== null);
  }

  /** Fetch one page: the first, or the one of a cursor from another page. */
  page(cursor: string | undefined = this.#start): Promise<Page<T>> {
    return this.#fetchPage(cursor);
  }

  /** Return the items as an array, at most `atMost`. */
  async toArray(atMost = Infinity): Promise<T[]> {
    const items: T[] = [];
    if (atMost > 0) {
      for await (const item of this) {
        if (items.push(item) >= atMost) {
          break;
        }
      }
    }
    return items;
  }
}
