"""A circuit breaker for connections to PostgreSQL: while the server sends nothing, requests fail fast.

Without it each request would wait for its own deadline. A few requests would then occupy all threads of a process, and
the others, health checks included, would wait in the queue for a multiple of that time.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg2
from sqlalchemy.engine import Dialect

from app.database.deadlines import BoundedConnection, DeadlineExceeded, deadline

log = logging.getLogger("gatepost.database")
# The limit of a probe that a request makes, and of the wait for the probe of another request. Together with a deadline
# that the request may have spent in the queue, a refusal takes less than 2 s.
PROBE_SECONDS = 0.3
WAIT_FOR_PROBE_SECONDS = 0.05


class DatabaseOutage(psycopg2.OperationalError):
    """The circuit is open: the server exceeded a deadline and has not responded since."""


class CircuitBreaker:
    """Closed: connections are established as usual. A deadline that is exceeded opens the circuit.

    Open: a request that needs a new connection probes the server. During a probe the circuit is half-open: other
    requests wait briefly for its result, then fail with DatabaseOutage. Any response of the server, even a refusal,
    closes the circuit.
    """

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._closed.set()
        self._opened_at = -math.inf
        self._state_lock = threading.Lock()
        # Held by the request whose probe is under way.
        self._probe_lock = threading.Lock()

    def connect(self, dialect: Dialect, record: Any, arguments: Any, options: Any) -> Any:
        """Establish a connection (a handler of SQLAlchemy's do_connect). Raises DeadlineExceeded, DatabaseOutage."""

        def connect() -> Any:
            return dialect.connect(*arguments, **options)

        self._connect = connect
        if not self._closed.is_set() and not self._half_open(connect):
            raise DatabaseOutage("no response from the database since an earlier deadline")
        try:
            return connect()
        except DeadlineExceeded:
            self._open()
            raise

    def record_error(self, error: BaseException) -> None:
        """Open the circuit if `error`, which a statement raised, is an exceeded deadline."""
        if isinstance(error, DeadlineExceeded):
            self._open()

    def is_suspect(self, connection: BoundedConnection) -> bool:
        """Return whether the circuit is open and `connection` is older: a statement on it could wait for a deadline."""
        return not self._closed.is_set() and connection.opened_at < self._opened_at

    def _half_open(self, connect: Callable[[], Any]) -> bool:
        """Probe, or wait for a probe that is under way; return whether the circuit is closed afterwards."""
        if not self._probe_lock.acquire(blocking=False):
            return self._closed.wait(WAIT_FOR_PROBE_SECONDS)
        try:
            with deadline(PROBE_SECONDS):
                return self._probe(connect)
        finally:
            self._probe_lock.release()

    def _open(self) -> None:
        with self._state_lock:
            if not self._closed.is_set():
                return
            self._opened_at = time.monotonic()
            self._closed.clear()
        log.warning("database outage")
        # Closes the circuit also when no request comes, and when a response takes longer than PROBE_SECONDS.
        threading.Thread(target=self._probe_until_closed, name="database-probe", daemon=True).start()

    def _probe_until_closed(self) -> None:
        while not self._probe(self._connect) and not self._closed.is_set():
            pass
        log.warning("database recovered")

    def _probe(self, connect: Callable[[], Any]) -> bool:
        """Try to connect, and close the circuit unless the deadline is exceeded. Return whether it was closed."""
        try:
            connect().close()
        except DeadlineExceeded:
            return False
        except psycopg2.Error:
            pass
        self._closed.set()
        return True
