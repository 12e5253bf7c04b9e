"""The gunicorn worker: threads that no idle client can hold, refusals as problems, a clean end.

Owns connections from accept to close, and gunicorn's log. Must not know any feature.
"""

from __future__ import annotations

import errno
import logging
import mmap
import os
import selectors
import signal
import socket
import struct
import sys
import time
from functools import partial
from typing import Any, ClassVar

from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.workers.gthread import TConn

from app import drain, sending
from app.errors import InternalError, Overloaded, Problem, RequestTimeout, problem_document
from app.headers import cors_headers, forwarded_scheme, request_id_of, security_headers
from app.lanes import LaneWorker
from app.lingering import LingeringWorker
from app.ops import logs
from app.refusals import Refused, fields_of, refusal
from app.serve import startup_settings
from app.wire import StrictParser

# The errors of accept() that pass when other connections have closed.
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ServerLogger(Logger):
    """Sends gunicorn's own lines where the application's go, in the same form."""

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        if not logging.getLogger("gatepost").handlers:
            logs.configure(startup_settings())
        self.error_log = logging.getLogger("gatepost.server")


class Connection(TConn):
    """A client's connection, with our parser and a bound on writes that make no progress."""

    write_stall_seconds: ClassVar[int] = 30

    def __init__(self, worker: ProblemWorker, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(worker.cfg, sock, client, server)
        self.worker = worker
        self.parser = StrictParser(worker.cfg, sock, client)
        self.discarded = 0
        # The kernel's timeout counts from the last progress; Python's would bound a whole response.
        stall = struct.pack("ll", self.write_stall_seconds, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, stall)

    def close(self, graceful: bool = False) -> None:
        if graceful:
            self.worker.linger(self)
        else:
            util.close(self.sock)


class ProblemWorker(LaneWorker, LingeringWorker):
    """gunicorn's threaded worker, without its habits that an application can't mend."""

    # How long a connection may be open before its first byte.
    first_byte_seconds: ClassVar[float] = 15.0
    accepts_at_once: ClassVar[int] = 16
    # How long a SIGTERM that is not the master's may be one that the master got as well.
    stray_signal_seconds: ClassVar[float] = 1.0
    # The number that gunicorn.conf.py gives it, which no other living worker has.
    slot: int

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.is_closed = False
        # Memory that master and worker share: the mark that this worker is to end.
        self.dismissal = mmap.mmap(-1, 1)
        self.stray_signal_at: float | None = None

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.is_ssl:
            raise RuntimeError("TLS ends at the proxy: remove certfile and keyfile.")
        if cfg.reload:
            raise RuntimeError("--reload works on the command line alone.")
        super().check_config(cfg, log)

    def init_process(self) -> None:
        sending.take_over()
        # How long a busy thread keeps the interpreter from the others, the main loop among them.
        sys.setswitchinterval(0.001)
        super().init_process()

    def init_signals(self) -> None:
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)

    # Being told to end

    def dismiss(self) -> None:
        """Mark this worker, in the master, as one that is to end."""
        self.dismissal[0] = 1

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop if the master says so. Another may have told all processes, and the master drains first."""
        if self.dismissal[0]:
            super().handle_exit(sig, frame)
        else:
            self.stray_signal_at = time.monotonic()

    def murder_pending(self) -> None:
        """Close what has waited too long; stop, if it shows that a signal was meant for this worker alone."""
        super().murder_pending()
        since = self.stray_signal_at
        if since is not None and time.monotonic() - since >= self.stray_signal_seconds and not drain.is_draining():
            self.alive = False

    def _cap_keepalive(self, deadline: float) -> None:
        """Give connections with no request on them until `deadline`, when the worker stops."""
        super()._cap_keepalive(deadline)  # type: ignore[misc]
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout or deadline, deadline)

    # Opening

    def accept(self, listener: Any) -> None:
        """Take a connection from the kernel's queue; several, if requests wait here already.

        gunicorn takes one each time it has dealt with all other events: under load, those that are left,
        probes among them, would wait for seconds before anyone looked at them. A worker with time takes
        one, so that its siblings get their share.
        """
        for _ in range(self.accepts_at_once if self.lane.waiting else 1):
            if self.nr_conns >= self.worker_connections or not self._accept_one(listener):
                break

    def _accept_one(self, listener: Any) -> bool:
        """Take a connection if there is one, and let it wait for its first byte without a thread.

        gunicorn gives it a thread for 5 s: a few silent connections, such as browsers open
        ahead of need, would hold all of them.
        """
        try:
            sock, client = listener.accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self.log.error("Can't accept a connection: %s", os.strerror(error.errno))
                time.sleep(0.1)
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                raise
            return False
        conn = Connection(self, sock, client, listener.getsockname())
        self.nr_conns += 1
        conn.timeout = time.monotonic() + self.first_byte_seconds
        self.pending_conns.append(conn)
        self.poller.register(sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))
        return True

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """Turn accepting on or off; a stopping worker first takes what is queued already."""
        if self.is_closed:
            return
        if not enabled and not self.alive:
            self.is_closed = True
            self._take_backlog()
        super().set_accept_enabled(enabled)
        if self.is_closed:
            # Later clients are refused at once, and may go elsewhere, rather than reset at the end.
            for listener in self.sockets:
                listener.close()

    def _take_backlog(self) -> None:
        for listener in self.sockets:
            while self._accept_one(listener):
                pass

    # Serving

    def handle_request(self, req: Any, conn: TConn) -> bool:
        if drain.is_draining():
            req.force_close()
        try:
            return bool(super().handle_request(req, conn))
        except BlockingIOError as error:
            raise BrokenPipeError(errno.EPIPE, "The client does not read its answer.") from error

    def _keepalive_after(self, conn: Connection, keepalive: bool) -> bool:
        # The rest of a body that the application left unread may be garbled. The answer is out:
        # a second one, which gunicorn would send, would be taken for that of the next request.
        try:
            return bool(super()._keepalive_after(conn, keepalive))  # type: ignore[misc]
        except (Problem, OSError):
            return False

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

    def refuse_overloaded(self, conn: Any) -> bool:
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
        util.write_nonblock(conn.sock, data)
        return is_kept

    def _can_keep(self, request: Any, conn: Any) -> bool:
        # Not with a next request here already: its client floods.
        ends = request.should_close() or conn.parser.unreader.buf.getvalue() or drain.is_draining()
        return self.alive and not ends and len(self.keepalived_conns) < self.max_keepalived

    def _problem_bytes(self, problem: Problem, fields: dict[str, str], **options: bool) -> tuple[dict[str, Any], bytes]:
        settings = startup_settings()
        document = problem_document(problem, request_id_of(fields.get("x-request-id")), settings.service_prefix)
        scheme = forwarded_scheme(fields.get("x-forwarded-proto"), settings.trusted_proxies)
        headers = problem.headers() | security_headers(scheme)
        headers |= cors_headers(fields.get("origin"), settings.cors_origins)
        return document, refusal(document, headers, **options)
