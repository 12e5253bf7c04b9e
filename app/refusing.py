"""How the server itself says no, where no application does: to what is no request, and to what is one too many.

Must not know how it came to that.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

from gunicorn import util

from app import drain
from app.api.errors import InternalError, Overloaded, Problem, RequestTimeout, problem_document
from app.api.middleware.headers import cors_headers, forwarded_scheme, request_id_of, security_headers
from app.observability import metrics
from app.refusals import Refused, fields_of, refusal
from app.resting import RestingWorker
from app.serve import startup_settings

SHED_LOG_SECONDS = 5.0


class RefusingWorker(RestingWorker):
    """A worker whose refusals are the problems of the contract, with the headers of every answer."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shed = 0
        self.shed_logged_at = 0.0
        self.shed_lock = threading.Lock()

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Answer what the application could not as it would have; log no byte of the request."""
        if isinstance(exc, Refused):
            fields, head_only = fields_of(exc.head), exc.head.startswith(b"HEAD ")
            problem, reason = exc.problem, str(exc)
        else:
            fields = {name.lower(): value for name, value in getattr(req, "headers", ())}
            head_only = getattr(req, "method", None) == "HEAD"
            # A body that the application read, and let the error pass; else its own doing.
            problem = exc if isinstance(exc, Problem) else InternalError()
            reason = type(exc).__name__
        document, data = self._problem_bytes(problem, fields, with_body=not head_only)
        shown = {name: document[name] for name in ("status", "code", "request_id")}
        log = self.log.exception if isinstance(problem, InternalError) else self.log.info
        log("request refused", extra={**shown, "reason": reason, "ip": addr and addr[0]})
        try:
            util.write_nonblock(client, data)
        except OSError:
            self.log.debug("The client did not wait for its refusal.")

    def turn_away(self, conn: Any, waiting: int) -> bool:
        """Answer that there is no room behind so many who wait; return whether the connection can be kept."""
        try:
            is_kept = self._refuse_overloaded(conn)
        except OSError:
            return False
        except Exception:
            self.log.exception("Can't turn a request away.")
            return False
        metrics.SHED.inc()
        with self.shed_lock:
            self.shed += 1
            now = time.monotonic()
            if now - self.shed_logged_at > SHED_LOG_SECONDS:
                self.log.warning("overloaded", extra={"turned_away": self.shed, "waiting": waiting})
                self.shed_logged_at = now
                self.shed = 0
        return is_kept

    def _refuse_overloaded(self, conn: Any) -> bool:
        # Raises OSError when the client has gone.
        try:
            request = conn.parser.parse_arrived()
        except Refused as refused:
            if isinstance(refused.problem, RequestTimeout):
                refused.problem = Overloaded()
            self.handle_error(None, conn.sock, conn.client, refused)
            return False
        is_kept = request.discard_arrived_body() and self._can_keep(request, conn)
        fields = {name.lower(): value for name, value in request.headers}
        data = self._problem_bytes(Overloaded(), fields, with_body=request.method != "HEAD", is_kept=is_kept)[1]
        return conn.sock.send(data, socket.MSG_DONTWAIT) == len(data) and is_kept

    def _can_keep(self, request: Any, conn: Any) -> bool:
        # Not with a next request here already: its client floods.
        ends = request.should_close() or conn.parser.unreader.buf.getvalue() or drain.is_draining()
        return self.alive and not ends and len(self.kept) < self.max_keepalived

    def _problem_bytes(self, problem: Problem, fields: dict[str, str], **options: bool) -> tuple[dict[str, Any], bytes]:
        settings = startup_settings()
        document = problem_document(problem, request_id_of(fields.get("x-request-id")), settings.service_prefix)
        scheme = forwarded_scheme(fields.get("x-forwarded-proto"), settings.trusted_proxies)
        headers = problem.headers() | security_headers(scheme)
        headers |= cors_headers(fields.get("origin"), settings.cors_origins)
        return document, refusal(document, headers, **options)
