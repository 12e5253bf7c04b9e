// What is said about the connection, about what was done, and about what went wrong.

import { isProblem, NetworkError } from "@gatepost/client";
import type { ReactNode } from "react";
import { tryAgain, useConnection, type Connection } from "../state/connection";
import { dismiss, notices } from "../state/notices";
import { useStore } from "../state/store";

export function Banner(): ReactNode {
  const connection = useConnection();
  return (
    <div role="status" className="banner-place">
      {connection.kind !== "ok" && (
        <div className={`banner ${connection.kind}`}>
          <p>{explain(connection)}</p>
          <button type="button" onClick={tryAgain}>
            Try again
          </button>
        </div>
      )}
    </div>
  );
}

function explain(connection: Connection): string {
  switch (connection.kind) {
    case "offline":
      return "You are offline. What you see may be old, and what you write waits here.";
    case "unreachable":
      return "The service can’t be reached. This page keeps trying.";
    case "unavailable":
      return `${connection.detail} This page keeps trying.`;
    case "ok":
      return "";
  }
}

export function Notices(): ReactNode {
  const shown = useStore(notices);
  return (
    <div className="notices" role="log" aria-live="polite" aria-label="Messages">
      {shown.map((notice) => (
        <p key={notice.id} className={notice.isError ? "notice error" : "notice"}>
          {notice.text}
          <button type="button" className="quiet" aria-label="Dismiss" onClick={() => dismiss(notice.id)}>
            ×
          </button>
        </p>
      ))}
    </div>
  );
}

/** An error that no field can show. */
export function ErrorMessage({ error, onRetry }: { error: unknown; onRetry?: () => void }): ReactNode {
  if (error === null || error === undefined) {
    return null;
  }
  return (
    <div role="alert" className="problem">
      <p>{textOf(error)}</p>
      {onRetry && (
        <button type="button" onClick={onRetry}>
          Try again
        </button>
      )}
    </div>
  );
}

export function textOf(error: unknown): string {
  if (error instanceof NetworkError) {
    return "The service can’t be reached. Nothing you wrote is lost: try again.";
  }
  if (isProblem(error, "rate_limited")) {
    return `Too many attempts. Try again in ${error.retryAfter ?? 60} seconds.`;
  }
  return isProblem(error) ? error.message : "Something went wrong. Try again.";
}
