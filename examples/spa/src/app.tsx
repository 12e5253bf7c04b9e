// The frame of all pages, and the selection of the page for the current route.

import { useEffect, useRef, type ReactNode } from "react";
import { Banner, Notices } from "./parts/messages";
import { Navigation } from "./parts/navigation";
import { DevicesPage } from "./pages/devices";
import { DraftsPage } from "./pages/drafts";
import { FeedPage } from "./pages/feed";
import { PostPage } from "./pages/post";
import { ProfilePage } from "./pages/profile";
import { SignInPage, SignUpPage, useEndedSessionRedirect } from "./pages/sign-in";
import { api, me, useSession } from "./state/api";
import { attempts } from "./state/connection";
import { drafts, feed } from "./state/posts";
import { go, useRoute, type Route } from "./state/router";

const TITLES: Record<Route["page"], string> = {
  feed: "Posts",
  post: "Post",
  drafts: "Drafts",
  devices: "Devices",
  profile: "Profile",
  "sign-in": "Sign in",
  "sign-up": "Sign up",
  missing: "Not found",
};

export function App(): ReactNode {
  const route = useRoute();
  const main = useRef<HTMLElement>(null);
  const place = JSON.stringify(route);
  const shown = useRef("");
  const scrolled = useRef(new Map<string, number>());
  useSignedInUser();
  useEndedSessionRedirect();
  useEffect(() => {
    document.title = `${TITLES[route.page]} · Gatepost`;
    if (shown.current !== "") {
      // Restore the scroll position of a page that was visited before. Move the focus for keyboards and screen readers.
      scrollTo(0, scrolled.current.get(place) ?? 0);
      main.current?.focus({ preventScroll: true });
    }
    shown.current = place;
  }, [route.page, place]);
  useEffect(() => {
    const note = () => scrolled.current.set(shown.current, scrollY);
    addEventListener("scroll", note, { passive: true });
    return () => removeEventListener("scroll", note);
  }, []);
  return (
    <div className="frame">
      <a className="skip" href="#main" onClick={(event) => (event.preventDefault(), main.current?.focus())}>
        Skip to the content
      </a>
      <Navigation current={route.page} />
      <main id="main" ref={main} tabIndex={-1}>
        <Banner />
        <Page route={route} />
      </main>
      <Notices />
    </div>
  );
}

function Page({ route }: { route: Route }): ReactNode {
  const session = useSession();
  const isSignedIn = session.status === "signed_in";
  switch (route.page) {
    case "feed":
      return <FeedPage />;
    case "post":
      return <PostPage key={route.id} id={route.id} />;
    case "sign-up":
      return isSignedIn ? <RedirectToPosts /> : <SignUpPage />;
    case "sign-in":
      return isSignedIn ? <RedirectToPosts /> : <SignInPage />;
    case "drafts":
      return isSignedIn ? <DraftsPage /> : <SignInPage />;
    case "devices":
      return isSignedIn ? <DevicesPage /> : <SignInPage />;
    case "profile":
      return isSignedIn ? <ProfilePage /> : <SignInPage />;
    case "missing":
      return (
        <>
          <h1>Page not found</h1>
          <p>
            <a href="#/">Go to the posts</a>
          </p>
        </>
      );
  }
}

/** Go to the list of posts after signing in. */
function RedirectToPosts(): ReactNode {
  useEffect(() => go(""), []);
  return null;
}

/** Update `me` and the lists when another user signs in. */
function useSignedInUser(): void {
  const session = useSession();
  const account = session.status === "signed_in" ? session.account : null;
  useEffect(() => {
    me.update((user) => (user?.id === account ? user : null));
    drafts.clear();
    void feed.reload();
    if (account === null) {
      return undefined;
    }
    const controller = new AbortController();
    const load = () =>
      api.auth.me({ signal: controller.signal }).then(
        ({ data }) => me.set(data),
        () => undefined, // the banner or the sign-in page reports the reason
      );
    if (me.get() === null) {
      void load();
    }
    const stop = attempts.subscribe(() => me.get() ?? void load());
    return () => {
      controller.abort();
      stop();
    };
  }, [account]);
}
