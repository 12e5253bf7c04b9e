// The user's sessions, each of which can be ended.

import type { Session } from "@gatepost/client";
import { type ReactNode } from "react";
import { ErrorMessage, textOf } from "../parts/messages";
import { Time } from "../parts/post";
import { api } from "../state/api";
import { useLoad } from "../state/load";
import { notify } from "../state/notices";

const MOST = 100;

export function DevicesPage(): ReactNode {
  const { data: sessions, error, reload, set } = useLoad(
    (signal) => api.auth.sessions({ signal, query: { limit: MOST } }).toArray(MOST),
    "devices",
  );

  async function end(session: Session): Promise<void> {
    const before = sessions ?? [];
    set(before.filter((other) => other.id !== session.id));
    try {
      await (session.current ? api.auth.logout() : api.auth.endSession(session.id));
      notify("The session has ended.");
    } catch (failure) {
      set(before);
      notify(`The session could not be ended. ${textOf(failure)}`, true);
    }
  }

  async function endOthers(): Promise<void> {
    const before = sessions ?? [];
    set(before.filter((session) => session.current));
    try {
      await api.auth.endOtherSessions();
      notify("You are signed out on all other devices.");
    } catch (failure) {
      set(before);
      notify(`The session could not be ended. ${textOf(failure)}`, true);
    }
  }

  return (
    <>
      <h1>Devices</h1>
      <p className="intro">The devices on which you are signed in. If you do not recognize one, end its session and change your password.</p>
      {error ? <ErrorMessage error={error} onRetry={reload} /> : null}
      {!sessions && !error && <p role="status">Loading…</p>}
      {sessions && (
        <ul className="rows" aria-label="Sessions">
          {sessions.map((session) => (
            <li key={session.id} className="card row">
              <div>
                <p className="strong">
                  {describe(session.user_agent)}
                  {session.current && <span className="tag">This device</span>}
                </p>
                <p className="byline">
                  {session.ip} · last active <Time at={session.last_used_at} />
                </p>
              </div>
              <button
                type="button"
                aria-label={`${session.current ? "Sign out" : "End"}: ${describe(session.user_agent)}`}
                onClick={() => void end(session)}
              >
                {session.current ? "Sign out" : "End"}
              </button>
            </li>
          ))}
        </ul>
      )}
      {sessions && sessions.length > 1 && (
        <button type="button" className="danger-text" onClick={() => void endOthers()}>
          Sign out on all other devices
        </button>
      )}
    </>
  );
}

/** Return the browser and the operating system of a User-Agent. */
function describe(userAgent: string): string {
  const browser = /(Firefox|Edg|OPR|Chrome|Safari)\//.exec(userAgent)?.[1];
  const system = /Android|iPhone|iPad|Windows|Macintosh|Linux/.exec(userAgent)?.[0];
  const names: Record<string, string> = { Edg: "Edge", OPR: "Opera", Macintosh: "Mac" };
  if (!browser && !system) {
    return userAgent.split(/[\s/(]/)[0] || "Unknown program";
  }
  return [browser, system].filter((name) => name !== undefined).map((name) => names[name] ?? name).join(" on ");
}
