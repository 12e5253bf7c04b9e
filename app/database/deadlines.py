"""How long a thread waits for PostgreSQL when it sends nothing: frozen, cut off, or behind a route that swallows all.

Owns psycopg2's wait callback, and what happens to connecting once the database has fallen silent.
"""

from __future__ import annotations

import logging
import math
import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy.engine import Dialect

log = logging.getLogger("gatepost.database")
# How long a request that comes in a silence may look for its end: the first one, by a try of its own, and those that
# come while it tries. Added to the deadline that it may have queued behind, it still makes less than 2 s.
TRY_SECONDS = 0.3
HOPE_SECONDS = 0.05
# What psycopg2 says of a connection that is open, and not in the midst of connecting.
OPEN = (extensions.STATUS_READY, extensions.STATUS_BEGIN, extensions.STATUS_PREPARED)
_thread = threading.local()


class DeadlinePassed(psycopg2.OperationalError):
    """The server sent nothing within the client's own deadline."""


class OutageContinues(psycopg2.OperationalError):
    """The server let an earlier deadline pass, and has not answered since."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Let this thread wait for PostgreSQL so long in all, however many waits there are."""
    outer = getattr(_thread, "ends", math.inf)
    _thread.ends = min(outer, time.monotonic() + seconds)
    try:
        yield
    finally:
        _thread.ends = outer


class BoundedConnection(extensions.connection):
    """A connection with deadlines."""

    # Bounds each wait. While it connects, a connection has but its class: the deadline of that phase stands there.
    wait_seconds: float
    # When it had connected, by the monotonic clock.
    opened_at: float = math.inf

    def set_isolation_level(self, level: int | bytes | str | None) -> None:
        """Switch autocommit, which is all that SQLAlchemy is asked for here, without a word to the server.

        psycopg2's own says to the server which level is the default one, each time it leaves autocommit.
        """
        if not self.closed:
            self.autocommit = level == extensions.ISOLATION_LEVEL_AUTOCOMMIT


def bounded_connection(connect_seconds: float) -> type[BoundedConnection]:
    """Return the class of connections that are to be opened within `connect_seconds`."""
    extensions.set_wait_callback(_wait)
    return type("BoundedConnection", (BoundedConnection,), {"wait_seconds": connect_seconds})


def _wait(connection: extensions.connection) -> None:
    """Wait for libpq, at most as long as the connection and this thread may (psycopg2's wait callback).

    Raises DeadlinePassed, upon which psycopg2 closes the connection: a rollback then has nobody to wait for.
    Connections that are not ours, such as those of a migration, wait without end.
    """
    state = connection.poll()
    if state == extensions.POLL_OK:
        return
    seconds = getattr(connection, "wait_seconds", math.inf)
    ends = min(time.monotonic() + seconds, getattr(_thread, "ends", math.inf))
    while state != extensions.POLL_OK:
        poller = select.poll()
        # The descriptor may change while libpq tries the next address of a host.
        poller.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        left = max(0.0, ends - time.monotonic())
        if not poller.poll(None if math.isinf(left) else math.ceil(left * 1000)):
            if connection.status not in OPEN:
                # psycopg2 leaves those that are not open yet. The error's traceback keeps it, in a cycle, until the
                # collector comes; all the while the kernel tries to reach the server, which then waits for us.
                connection.close()
            raise DeadlinePassed("no answer from the database in time")
        state = connection.poll()


class OutageDetector:
    """Once the database has let a deadline pass, requests are refused soon, until it is known to answer again.

    If each waited for a deadline of its own, a few would hold every thread of the worker, and the rest, health checks
    among them, would queue behind them for many times as long.
    """

    def __init__(self) -> None:
        self._answers = threading.Event()
        self._answers.set()
        self._began_at = -math.inf
        self._begin_lock = threading.Lock()
        self._try_lock = threading.Lock()

    def connect(self, dialect: Dialect, record: Any, arguments: Any, options: Any) -> Any:
        """Open a connection (SQLAlchemy's event do_connect). Raises DeadlinePassed, OutageContinues."""

        def connect() -> Any:
            return dialect.connect(*arguments, **options)

        self._connect = connect
        if not self._answers.is_set() and not self._has_ended(connect):
            raise OutageContinues("no answer from the database since an earlier deadline")
        try:
            return connect()
        except DeadlinePassed:
            self._begin()
            raise

    def notice(self, error: BaseException) -> None:
        """Watch out for deadlines that pass on open connections, among the driver's errors."""
        if isinstance(error, DeadlinePassed):
            self._begin()

    def doubts(self, connection: BoundedConnection) -> bool:
        """Whether an open connection is of before the silence: to use it would cost another whole deadline."""
        return not self._answers.is_set() and connection.opened_at < self._began_at

    def _has_ended(self, connect: Callable[[], Any]) -> bool:
        if not self._try_lock.acquire(blocking=False):
            return self._answers.wait(HOPE_SECONDS)
        try:
            with deadline(TRY_SECONDS):
                return self._is_answered(connect)
        finally:
            self._try_lock.release()

    def _begin(self) -> None:
        with self._begin_lock:
            if not self._answers.is_set():
                return
            self._began_at = time.monotonic()
            self._answers.clear()
        log.warning("database silent")
        # For a database so far away that TRY_SECONDS are too short; and for the log.
        threading.Thread(target=self._wait_for_end, name="silence", daemon=True).start()

    def _wait_for_end(self) -> None:
        while not self._is_answered(self._connect) and not self._answers.is_set():
            pass
        log.warning("database answers again")

    def _is_answered(self, connect: Callable[[], Any]) -> bool:
        """Try to connect; end the silence unless the deadline passes. A refusal is an answer too."""
        try:
            connect().close()
        except DeadlinePassed:
            return False
        except psycopg2.Error:
            pass
        self._answers.set()
        return True
