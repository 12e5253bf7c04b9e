"""The end of a connection: half-closed, then drained for a while, so that the last answer arrives.

Owns connections from their last answer to the full close. Must not know what was answered.
"""

from __future__ import annotations

import selectors
import socket
import time
from functools import partial
from typing import Any, ClassVar, Protocol

from gunicorn.workers.gthread import ThreadWorker


class Closing(Protocol):
    """A connection that is to end."""

    sock: socket.socket
    discarded: int

    def close(self) -> None:
        """Close it for good."""


class LingeringWorker(ThreadWorker):
    """gunicorn's threaded worker, closing connections by its poller."""

    linger_seconds: ClassVar[float] = 2.0
    linger_bytes: ClassVar[int] = 16 * 1024 * 1024

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lingering: dict[Closing, float] = {}

    def linger(self, conn: Closing) -> None:
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

    def _discard(self, conn: Closing, sock: socket.socket) -> None:
        try:
            count = len(sock.recv(65_536))
        except BlockingIOError:
            return
        except OSError:
            count = 0
        conn.discarded += count
        if not count or conn.discarded > self.linger_bytes:
            self._drop(conn)

    def _drop(self, conn: Closing) -> None:
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
