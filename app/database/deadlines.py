"""Client-side deadlines for PostgreSQL: they end a wait for a server that is frozen or unreachable and sends nothing.

PostgreSQL's own timeouts cannot end such a wait. psycopg2 waits for the server in a callback, which is `_wait` here.
"""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from psycopg2 import extensions

# The values of psycopg2's `status` for a connection that is established.
ESTABLISHED = (extensions.STATUS_READY, extensions.STATUS_BEGIN, extensions.STATUS_PREPARED)
_thread = threading.local()


class DatabaseOutage(psycopg2.OperationalError):
    """The circuit breaker is open: the server exceeded a deadline and has not responded since."""


class DeadlineExceeded(psycopg2.OperationalError):
    """The server sent nothing before the client's deadline."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Limit the total time that this thread waits for PostgreSQL inside the block."""
    outer = getattr(_thread, "expires_at", math.inf)
    _thread.expires_at = min(outer, time.monotonic() + seconds)
    try:
        yield
    finally:
        _thread.expires_at = outer


class BoundedConnection(extensions.connection):
    """A connection on which each wait for the server has a deadline."""

    # The limit of one wait. The class attribute applies while the connection is being established, because psycopg2
    # calls the wait callback before the instance can have attributes of its own.
    wait_seconds: float
    # The time at which it was established, by time.monotonic().
    opened_at: float = math.inf

    def set_isolation_level(self, level: int | bytes | str | None) -> None:
        """Set the isolation level of the next transactions, or switch autocommit on, as psycopg2's method does.

        READ COMMITTED needs no statement, because it is the default of each connection (postgres.py). psycopg2's own
        method would send one each time autocommit is switched.
        """
        if self.closed:
            return
        # Outside of autocommit, a change of the level is only noted for the next BEGIN.
        self.autocommit = False
        is_default = level in (extensions.ISOLATION_LEVEL_AUTOCOMMIT, extensions.ISOLATION_LEVEL_READ_COMMITTED)
        self.isolation_level = None if is_default else level
        self.autocommit = level == extensions.ISOLATION_LEVEL_AUTOCOMMIT


def bounded_connection(connect_seconds: float) -> type[BoundedConnection]:
    """Return a connection class whose connections must be established within `connect_seconds`.

    Also installs the wait callback, which applies to every connection of the process.
    """
    extensions.set_wait_callback(_wait)
    return type("BoundedConnection", (BoundedConnection,), {"wait_seconds": connect_seconds})


def _wait(connection: extensions.connection) -> None:
    """Wait until libpq has finished, or until the deadline of the connection or of the thread (wait callback).

    Raises DeadlineExceeded. psycopg2 then closes the connection, so that a later rollback does not wait again.
    Connections of another class, such as those of migrations, have no deadline.
    """
    state = connection.poll()
    if state == extensions.POLL_OK:
        return
    seconds = getattr(connection, "wait_seconds", math.inf)
    expires_at = min(time.monotonic() + seconds, getattr(_thread, "expires_at", math.inf))
    while state != extensions.POLL_OK:
        poller = select.poll()
        # The descriptor can change while libpq tries the next address of a host.
        poller.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        left = max(0.0, expires_at - time.monotonic())
        if not poller.poll(None if math.isinf(left) else math.ceil(left * 1000)):
            if connection.status not in ESTABLISHED:
                # psycopg2 closes established connections only. Without this the socket stays open until the garbage
                # collector frees the error's traceback, and the kernel continues its attempts to connect.
                connection.close()
            raise DeadlineExceeded("no response from the database before the deadline")
        state = connection.poll()
