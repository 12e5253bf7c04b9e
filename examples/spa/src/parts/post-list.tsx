// A list of posts that loads the next page when its end becomes visible.

import { useEffect, useRef, type ReactNode } from "react";
import { attempts } from "../state/connection";
import type { Feed } from "../state/posts";
import { useStore } from "../state/store";
import { PostCard } from "./post";

export function PostListView({ feed, empty }: { feed: Feed; empty: string }): ReactNode {
  const { items, next, state } = useStore(feed.store);
  const end = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const element = end.current;
    if (!element || state !== "idle" || next === null) {
      return undefined;
    }
    const observer = new IntersectionObserver(([entry]) => entry?.isIntersecting && void feed.more(), {
      rootMargin: "600px",
    });
    observer.observe(element);
    return () => observer.disconnect();
  }, [feed, state, next]);
  useEffect(() => (state === "failed" ? attempts.subscribe(() => void feed.more()) : undefined), [feed, state]);
  return (
    <>
      <ul className="posts" aria-busy={state === "loading"}>
        {items.map((post) => (
          <li key={post.id}>
            <PostCard post={post} />
          </li>
        ))}
      </ul>
      <div ref={end} className="end" role="status">
        {state === "loading" && <p className="loading">Loading…</p>}
        {state === "failed" && (
          <>
            <p>The posts could not be loaded.</p>
            <button type="button" onClick={() => void feed.more()}>
              Try again
            </button>
          </>
        )}
        {state === "idle" && next === null && <p>{items.length === 0 ? empty : "No more posts."}</p>}
      </div>
    </>
  );
}
