"""The engine: options of the connection pool, and the events that prepare and check its connections.

The values come from the DB_* settings. What differs between the databases is in postgres.py and sqlite.py.
"""

from __future__ import annotations

import select
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

from app.database import postgres, sqlite
from app.observability import metrics
from app.settings import Settings

# The client's deadline is this much longer than the server's statement_timeout. Normally the server ends a statement,
# and the connection stays usable; the client's deadline applies only if the server is frozen or unreachable.
CLIENT_SLACK_SECONDS = 0.15
# Connections are replaced at this age, so that memory which PostgreSQL caches for a connection is freed.
POOL_RECYCLE_SECONDS = 1800
# Ends a transaction whose client is gone or stuck, and so releases its locks. Requests are much shorter.
IDLE_IN_TRANSACTION_MS = 10_000


class CountingPool(QueuePool):
    """A connection pool that counts the checkouts that had to wait for a connection."""

    def _do_get(self) -> Any:
        if not self.checkedin() and self.checkedout() >= self.size():
            metrics.POOL_WAITS.inc()
        return super()._do_get()


def engine_options(settings: Settings) -> dict[str, Any]:
    """Return the options of `create_engine` for these settings."""
    options: dict[str, Any] = {
        "poolclass": CountingPool,
        "pool_size": settings.db_pool_size,
        # DB_POOL_SIZE is a hard limit, so that the number of processes times it stays below max_connections.
        "max_overflow": 0,
        # Error messages go to the log, and must not contain what users wrote.
        "hide_parameters": True,
        # A request that gets no connection in this time is refused with 503.
        "pool_timeout": settings.db_pool_timeout_seconds,
        "connect_args": connect_arguments(
            settings,
            connect_seconds=settings.db_connect_timeout_seconds,
            statement_ms=settings.db_statement_timeout_ms,
            lock_ms=settings.db_lock_timeout_ms,
        ),
    }
    if settings.uses_sqlite:
        Path(make_url(settings.database_url).database or "").parent.mkdir(parents=True, exist_ok=True)
        return options
    # Last in, first out: under low load the same few connections are used, and their server caches stay warm.
    return options | {"pool_use_lifo": True, "pool_recycle": POOL_RECYCLE_SECONDS}


def connect_arguments(settings: Settings, *, connect_seconds: float, statement_ms: int, lock_ms: int) -> dict[str, Any]:
    """Return the driver's connect arguments, which set the timeouts of both the client and the server."""
    if settings.uses_sqlite:
        return sqlite.connect_arguments(statement_ms=statement_ms, lock_ms=lock_ms)
    timeouts_ms = {
        "statement_timeout": statement_ms,
        "lock_timeout": lock_ms,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
    }
    url = make_url(settings.database_url)
    return postgres.connect_arguments(url, connect_seconds=connect_seconds, timeouts_ms=timeouts_ms)


def autocommit_view(engine: Engine) -> Engine:
    """Return an engine over the same pool that sends no BEGIN and no ROLLBACK, which saves two round trips a read."""
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def install_engine_events(engine: Engine, settings: Settings, guard: postgres.ConnectionGuard | None = None) -> None:
    """Prepare each new connection of `engine`, and check each one that is taken from the pool.

    A `guard` opens the connections to PostgreSQL and checks them too.
    """
    if settings.uses_sqlite:
        sqlite.install_events(engine)
        return
    wait_seconds = settings.db_statement_timeout_ms / 1000 + CLIENT_SLACK_SECONDS

    def prepare(connection: Any, record: Any) -> None:
        connection.wait_seconds = wait_seconds
        connection.opened_at = time.monotonic()
        record.info.update(is_new=True, is_read_only=postgres.is_read_only(connection))

    def check(connection: Any, record: Any, proxy: Any) -> None:
        # A new connection is not checked: a second rejection in one checkout makes the pool raise InvalidRequestError,
        # which would be reported as a bug.
        if record.info.pop("is_new", False):
            return
        _reject_unusable(connection, record)
        if guard:
            guard.reject_suspect(connection)

    event.listen(engine, "do_connect", guard.connect if guard else postgres.Connector(settings.database_password_file))
    event.listen(engine, "connect", prepare)
    event.listen(engine, "checkout", check)
    if guard:
        event.listen(engine, "handle_error", guard.handle_error)


def _reject_unusable(connection: Any, record: Any) -> None:
    """Make the pool replace a connection that the server has closed, or that was made to a server without writes.

    Costs one system call instead of a round trip. An idle connection is readable only after the server closed or reset
    it. A connection to a standby is used once, because after a failover it would lead to the former primary.
    """
    poller = select.poll()
    if not connection.closed:
        poller.register(connection.fileno(), select.POLLIN)
    if connection.closed or poller.poll(0):
        raise DisconnectionError("the server closed this connection")
    if record.info["is_read_only"]:
        raise DisconnectionError("the server took no writes when this connection was made")
