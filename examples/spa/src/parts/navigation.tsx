// The header with the links to the pages, and the button to sign out.

import type { ReactNode } from "react";
import { api, useMe, useSession } from "../state/api";
import { notify } from "../state/notices";
import { go, type Route } from "../state/router";

const ICONS = {
  feed: "M4 5h16M4 12h16M4 19h10",
  drafts: "M5 19l1-4L16 5l3 3L9 18z",
  devices: "M3 5h13v9H3zM2 18h10M17 9h4v10h-5v-4",
  profile: "M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8M4 20c1-4 4-5 8-5s7 1 8 5",
};

const LINKS = [
  ["feed", "", "Posts"],
  ["drafts", "drafts", "Drafts"],
  ["devices", "devices", "Devices"],
  ["profile", "profile", "Profile"],
] as const;

export function Navigation({ current }: { current: Route["page"] }): ReactNode {
  const isSignedIn = useSession().status === "signed_in";
  const user = useMe();
  return (
    <header className="top">
      <a className="brand" href="#/">
        <svg viewBox="0 0 16 16" aria-hidden="true">
          <path d="M2 2v12M14 2v12M2 6h12M2 11h12" />
        </svg>
        Gatepost
      </a>
      {isSignedIn ? (
        <>
          <nav aria-label="Pages">
            {LINKS.map(([page, path, label]) => (
              <a key={page} href={`#/${path}`} aria-current={page === current ? "page" : undefined}>
                <svg viewBox="0 0 24 24" aria-hidden="true">
                  <path d={ICONS[page]} />
                </svg>
                {label}
              </a>
            ))}
          </nav>
          <div className="account">
            {user && <span>{user.name}</span>}
            <button type="button" className="quiet" onClick={() => void signOut()}>
              Sign out
            </button>
          </div>
        </>
      ) : (
        <div className="account">
          <a href="#/sign-in">Sign in</a>
          <a className="button" href="#/sign-up">
            Sign up
          </a>
        </div>
      )}
    </header>
  );
}

async function signOut(): Promise<void> {
  try {
    await api.auth.logout();
    notify("You are signed out.");
  } catch {
    notify("You are signed out on this device, but the service could not be reached. End the session on another device.", true);
  }
  go("");
}
