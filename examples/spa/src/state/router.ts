// Routes in the fragment of the address, so that any static web server can serve the app.

import { useSyncExternalStore } from "react";

export type Route =
  | { readonly page: "feed" | "drafts" | "devices" | "profile" | "sign-in" | "sign-up" | "missing" }
  | { readonly page: "post"; readonly id: number };

const PAGES = ["drafts", "devices", "profile", "sign-in", "sign-up"] as const;

export function useRoute(): Route {
  const hash = useSyncExternalStore(subscribe, () => location.hash);
  return parse(hash.replace(/^#\/?/, ""));
}

export function go(path: string): void {
  location.hash = `#/${path}`;
}

function subscribe(listener: () => void): () => void {
  addEventListener("hashchange", listener);
  return () => removeEventListener("hashchange", listener);
}

function parse(path: string): Route {
  if (path === "") {
    return { page: "feed" };
  }
  const post = /^posts\/([1-9]\d{0,15})$/.exec(path);
  if (post) {
    return { page: "post", id: Number(post[1]) };
  }
  return { page: PAGES.find((page) => page === path) ?? "missing" };
}
