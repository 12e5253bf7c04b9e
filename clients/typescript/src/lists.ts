// Lists as async iterators: they follow the cursors, a page at a time.

/** One page of a list. */
export interface Page<T> {
  readonly items: T[];
  /** For `cursor`, to go on; null at the end. */
  readonly nextCursor: string | null;
  /** For `cursor`, to go back; null at the start. */
  readonly prevCursor: string | null;
}

/**
 * A list that is fetched as it is walked: `for await (const post of client.posts.list()) …`.
 * Nothing is asked for before the first step, and nothing more once the loop is left.
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

  /** Walk page by page. */
  async *pages(): AsyncGenerator<Page<T>, void, undefined> {
    let cursor: string | null | undefined = this.#start;
    do {
      const page: Page<T> = await this.#fetchPage(cursor);
      yield page;
      cursor = page.nextCursor;
    } while (cursor !== null);
  }

  /** Fetch one page: the first, or the one at a cursor that another page gave. */
  page(cursor: string | undefined = this.#start): Promise<Page<T>> {
    return this.#fetchPage(cursor);
  }

  /** Collect the items, `atMost` that many. */
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
