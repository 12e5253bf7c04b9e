// Messages: the state of the connection, confirmations and errors.

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
      return "You are offline. The page may be outdated. What you write is kept until you are online again.";
    case "unreachable":
      return "The service cannot be reached. Retrying…";
    case "unavailable":
      return `${connection.detail} Retrying…`;
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

/** An error that does not belong to a field. */
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
    return "The service cannot be reached. Your text is kept. Try again.";
  }
  return isProblem(error) ? error.message : "Something went wrong. Try again.";
}
