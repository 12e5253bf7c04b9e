"""Connections between requests: they rest with the kernel until there is something to read, or their time is over.

Owns who has a connection at each moment: a place of rest, or the one thread that took it from there. Must not know
what is read.
"""

from __future__ import annotations

import time
from typing import Any

from app.lingering import LingeringWorker
from app.readiness import Readiness

# How long a stopping worker keeps connections on which no request is: one may be on its way.
LINGER_AT_STOP_SECONDS = 2.0
# How often the main loop looks for connections whose time is over.
EXPIRY_SECONDS = 0.2


class RestingWorker(LingeringWorker):
    """gunicorn's threaded worker, whose connections any thread may take up and lay down again."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.by_fd: dict[int, Any] = {}
        # Before their first byte, between two requests, in the midst of one, and with one that needs no more of them.
        self.silent: dict[Any, bool] = {}
        self.kept: dict[Any, bool] = {}
        self.partial: dict[Any, bool] = {}
        self.expire_at = 0.0

    def init_process(self) -> None:
        self.readiness = Readiness()
        super().init_process()

    def welcome(self, conn: Any, seconds: float) -> None:
        """Let a new connection wait for its first byte, for so many seconds."""
        conn.timeout = time.monotonic() + seconds
        conn.home = self.silent
        self.by_fd[conn.fd] = conn
        self.silent[conn] = True
        self.readiness.watch(conn.fd)

    def claim(self, fd: int) -> Any:
        """Return the connection of this descriptor, if nobody else has taken it."""
        conn: Any = self.by_fd.get(fd)
        return conn if conn is not None and conn.home.pop(conn, False) else None

    def rest(self, conn: Any, home: dict[Any, bool], timeout: float) -> None:
        """Let a connection wait until it can be read, among others of its kind."""
        # A worker that stops answers what is on its way, and no more.
        conn.timeout = timeout
        conn.home = home
        home[conn] = True
        if not self.alive and home is not self.partial:
            conn.timeout = min(timeout, time.monotonic() + LINGER_AT_STOP_SECONDS)
        try:
            self.readiness.watch_again(conn.fd)
        except OSError:
            # Its time was over; or else it is lost.
            if home.pop(conn, False):
                self.leave(conn, is_kept=False)

    def leave(self, conn: Any, *, is_kept: bool) -> None:
        """Do what follows an answer."""
        if is_kept:
            conn.parser.unreader.may_wait = True
            self.rest(conn, self.kept, time.monotonic() + self.cfg.keepalive)
        else:
            self.forget(conn)
            self.method_queue.defer(self._close, conn)

    def forget(self, conn: Any) -> None:
        """Let nobody hear of this connection any more."""
        # gunicorn closes the socket of an answer that fails midway: by now another connection may have its descriptor.
        fd = conn.fd
        if conn.sock.fileno() == fd:
            self.readiness.forget(fd)
        if self.by_fd.get(fd) is conn:
            del self.by_fd[fd]

    # In the main loop

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        if conn.sock.fileno() >= 0:
            conn.close(graceful=True)

    def murder_keepalived(self, force: bool = False) -> None:
        """Close the connections whose time is over, or all."""
        now = time.monotonic()
        if now < self.expire_at and not force:
            return
        self.expire_at = now + EXPIRY_SECONDS
        for home in (self.silent, self.kept, self.partial):
            for conn in list(home):
                if not (conn.timeout <= now or force) or not home.pop(conn, False):
                    continue
                if conn.timeout <= now or force:
                    self.expire(conn)
                else:
                    # A thread has had it in between.
                    self.rest(conn, home, conn.timeout)

    def expire(self, conn: Any) -> None:
        """Close a connection that has rested for too long."""
        self.forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _cap_keepalive(self, deadline: float) -> None:
        """Give connections with no request on them until `deadline`, when the worker stops."""
        for home in (self.silent, self.kept):
            for conn in list(home):
                conn.timeout = min(conn.timeout, deadline)
