"""The gunicorn worker: threads that no idle client can hold, refusals as problems, a clean end.

Owns connections from accept to close, and gunicorn's log. Must not know any feature.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import signal
import socket
import struct
import time
from functools import partial
from typing import Any, ClassVar

from gunicorn import util
from gunicorn.glogging import Logger
from gunicorn.http import wsgi
from gunicorn.workers.gthread import TConn, ThreadWorker

from app.errors import InternalError, Problem, problem_document
from app.headers import request_id_of
from app.ops import logs
from app.refusals import Refused, cors_headers, fields_of, refusal
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


def hold_signals(arbiter: Any, worker: ThreadWorker) -> None:
    """Let signals wait while a worker is born (gunicorn's pre_fork hook).

    A worker has its master's handlers until it sets its own, and those would swallow a SIGTERM: the stop would then
    wait for the whole of graceful_timeout.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, worker.SIGNALS)


def _let_signals_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ThreadWorker.SIGNALS)


# The master goes on as before; the worker lets them through in init_signals.
os.register_at_fork(after_in_parent=_let_signals_through)


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


class ProblemWorker(ThreadWorker):
    """gunicorn's threaded worker, without its habits that an application can't mend."""

    # How long a connection may be open before its first byte, and after its last answer.
    first_byte_seconds: ClassVar[float] = 15.0
    linger_seconds: ClassVar[float] = 2.0
    linger_bytes: ClassVar[int] = 16 * 1024 * 1024

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lingering: dict[Connection, float] = {}
        self.draining = False

    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        if cfg.is_ssl:
            raise RuntimeError("TLS ends at the proxy: remove certfile and keyfile.")
        if cfg.reload:
            raise RuntimeError("--reload works on the command line alone.")
        super().check_config(cfg, log)

    def init_process(self) -> None:
        # gunicorn has no setting for the name it gives itself in every response.
        wsgi.SERVER = wsgi.SERVER_SOFTWARE = "gatepost"  # type: ignore[attr-defined]
        super().init_process()

    def init_signals(self) -> None:
        super().init_signals()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)

    # Opening

    def accept(self, listener: Any) -> None:
        """Take a connection, and let it wait for its first byte without a thread.

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
            return
        conn = Connection(self, sock, client, listener.getsockname())
        self.nr_conns += 1
        conn.timeout = time.monotonic() + self.first_byte_seconds
        self.pending_conns.append(conn)
        self.poller.register(sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def set_accept_enabled(self, enabled: bool | None) -> None:
        """Turn accepting on or off; a stopping worker first takes what is queued already."""
        if self.draining:
            return
        if not enabled and not self.alive:
            self.draining = True
            self._take_backlog()
        super().set_accept_enabled(enabled)
        if self.draining:
            # Later clients are refused at once, and may go elsewhere, rather than reset at the end.
            for listener in self.sockets:
                listener.close()

    def _take_backlog(self) -> None:
        for listener in self.sockets:
            count = -1
            while count != self.nr_conns:
                count = self.nr_conns
                self.accept(listener)

    # Serving

    def handle_request(self, req: Any, conn: TConn) -> bool:
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
        settings = startup_settings()
        document = problem_document(problem, request_id_of(fields.get("x-request-id")), settings.service_prefix)
        shown = {name: document[name] for name in ("status", "code", "request_id")}
        log = self.log.exception if isinstance(problem, InternalError) else self.log.info
        log("request refused", extra={**shown, "reason": reason, "ip": addr and addr[0]})
        headers = problem.headers() | cors_headers(fields.get("origin"), settings.cors_origins)
        try:
            util.write_nonblock(client, refusal(document, headers, with_body=not head_only))
        except OSError:
            self.log.debug("The client did not wait for its refusal.")

    # Closing

    def linger(self, conn: Connection) -> None:
        """Half-close, and discard what the client still sends before the full close.

        Closing with unread bytes would reset the connection, and a client that is still uploading
        would lose the answer (RFC 9112 section 9.6). gunicorn waits for that in the main loop,
        where one slow client stops all others; here the poller does.
        """
        self.nr_conns += 1
        self.lingering[conn] = time.monotonic() + self.linger_seconds
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._discard, conn))
        except OSError:
            self._drop(conn)

    def _discard(self, conn: Connection, sock: socket.socket) -> None:
        try:
            count = len(sock.recv(65_536))
        except BlockingIOError:
            return
        except OSError:
            count = 0
        conn.discarded += count
        if not count or conn.discarded > self.linger_bytes:
            self._drop(conn)

    def _drop(self, conn: Connection) -> None:
        del self.lingering[conn]
        if conn.sock in self.poller.get_map():
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def murder_pending(self) -> None:
        """Close the connections that have waited too long, for a first byte or for the end."""
        super().murder_pending()
        now = time.monotonic()
        for conn in [conn for conn, deadline in self.lingering.items() if deadline <= now]:
            self._drop(conn)

    def _cap_keepalive(self, deadline: float) -> None:
        """Give connections with no request on them until `deadline`, when the worker stops."""
        super()._cap_keepalive(deadline)  # type: ignore[misc]
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout or deadline, deadline)
