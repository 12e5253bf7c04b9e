"""The engine: options of the connection pool, timeouts of PostgreSQL, and preparation and checks of connections.

The values come from the DB_* settings. Client-side deadlines are in deadlines.py, failing fast in circuit_breaker.py.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import Dialect, make_url
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import QueuePool

from app.database.circuit_breaker import CircuitBreaker
from app.database.deadlines import DatabaseOutage, DeadlineExceeded, bounded_connection
from app.observability import metrics
from app.settings import Settings

# The client's deadline is this much longer than the server's statement_timeout. Normally the server ends a statement,
# and the connection stays usable; the client's deadline applies only if the server is frozen or unreachable.
CLIENT_SLACK_SECONDS = 0.15
# Between two attempts to reach a database that does not respond. The attempts themselves take up to a second.
PROBE_PAUSE_SECONDS = 0.05
# Connections are replaced at this age, so that memory which PostgreSQL caches for a connection is freed.
POOL_RECYCLE_SECONDS = 1800
# Ends a transaction whose client is gone or stuck, and so releases its locks. Requests are much shorter.
IDLE_IN_TRANSACTION_MS = 10_000
# Execution option of the SQLite engine for reads: no BEGIN.
NO_TRANSACTION = "gatepost_no_transaction"


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
    }
    if settings.uses_sqlite:
        Path(make_url(settings.database_url).database or "").parent.mkdir(parents=True, exist_ok=True)
        # The busy timeout: how long a connection waits for the lock of another writer.
        return options | {"connect_args": {"timeout": settings.db_lock_timeout_ms / 1000}}
    return options | {
        # Last in, first out: under low load the same few connections are used, and their server caches stay warm.
        "pool_use_lifo": True,
        "pool_recycle": POOL_RECYCLE_SECONDS,
        "connect_args": postgres_arguments(
            connect_seconds=settings.db_connect_timeout_seconds,
            statement_ms=settings.db_statement_timeout_ms,
            lock_ms=settings.db_lock_timeout_ms,
        ),
    }


def postgres_arguments(*, connect_seconds: float, statement_ms: int, lock_ms: int) -> dict[str, Any]:
    """Return psycopg2's connect arguments, which set the timeouts of both the client and the server."""
    server = {
        "statement_timeout": statement_ms,
        "lock_timeout": lock_ms,
        "timezone": "UTC",
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
    }
    return {
        "connection_factory": bounded_connection(connect_seconds),
        # Shown in pg_stat_activity.
        "application_name": "gatepost",
        "options": " ".join(f"-c {name}={value}" for name, value in server.items()),
    }


def autocommit_view(engine: Engine) -> Engine:
    """Return an engine over the same pool that sends no BEGIN and no ROLLBACK, which saves two round trips a read."""
    if engine.dialect.name == "sqlite":
        # SQLAlchemy's AUTOCOMMIT would set the driver's isolation level, and the driver would then begin transactions.
        return engine.execution_options(**{NO_TRANSACTION: True})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def install_engine_events(engine: Engine, settings: Settings) -> None:
    """Prepare each new connection of `engine`, and check each one that is taken from the pool."""
    if settings.uses_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        _detect_replaced_file(engine)
        return
    wait_seconds = settings.db_statement_timeout_ms / 1000 + CLIENT_SLACK_SECONDS

    def set_deadline(connection: Any, record: Any) -> None:
        connection.wait_seconds = wait_seconds
        connection.opened_at = time.monotonic()
        record.info["is_new"] = True

    event.listen(engine, "connect", set_deadline)
    event.listen(engine, "checkout", _detect_closed_connection)


def install_circuit_breaker(engine: Engine) -> Callable[[BaseException], None]:
    """Let a circuit breaker guard the connections of `engine` to PostgreSQL.

    An exceeded deadline opens it; any response of the server, even a refusal, closes it. Returns the function that
    reports it the errors of statements that run without the engine's events.
    """
    # How to connect, from the latest attempt: the probe does the same.
    latest: list[Callable[[], Any]] = []

    def probe() -> None:
        try:
            latest[-1]().close()
        except DeadlineExceeded:
            raise
        except psycopg2.Error:
            return

    breaker = CircuitBreaker("database", probe, retry_seconds=PROBE_PAUSE_SECONDS)

    def connect(dialect: Dialect, record: Any, arguments: Any, options: Any) -> Any:
        latest[:] = [partial(dialect.connect, *arguments, **options)]
        if not breaker.is_closed():
            raise DatabaseOutage("no response from the database since an earlier deadline")
        return latest[-1]()

    def report(error: BaseException | None) -> None:
        if isinstance(error, DeadlineExceeded):
            breaker.open(error)

    def reject_suspect(connection: Any, record: Any, proxy: Any) -> None:
        # A statement on a connection from before an outage could wait for another deadline: a firewall, for example,
        # may have dropped it meanwhile.
        if connection.opened_at < breaker.opened_at:
            raise DisconnectionError("the database stopped responding after this connection was established")

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "handle_error", lambda context: report(context.original_exception))
    event.listen(engine, "checkout", reject_suspect)
    return report


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # None: the driver begins no transactions. `_begin_immediate` does.
    connection.isolation_level = None
    # WAL: readers and the writer do not block each other. FULL: a commit survives a power failure.
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that reads and then writes fails at once, regardless of the busy timeout, if another
    # connection wrote in between. BEGIN IMMEDIATE takes the write lock first.
    if not connection.get_execution_options().get(NO_TRANSACTION):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _detect_replaced_file(engine: Engine) -> None:
    """Make the pool replace connections to a SQLite file that was replaced, for example by restoring a backup.

    Such a connection continues to read the old, deleted file and cannot write.
    """
    path = Path(engine.url.database or "")

    def identify() -> tuple[int, int]:
        try:
            status = path.stat()
        except OSError:
            return 0, 0
        return status.st_dev, status.st_ino

    def remember(connection: Any, record: Any) -> None:
        record.info.update(is_new=True, file=identify())

    def compare(connection: Any, record: Any, proxy: Any) -> None:
        if not record.info.pop("is_new", False) and record.info["file"] != identify():
            raise DisconnectionError("the database file was replaced")

    event.listen(engine, "connect", remember)
    event.listen(engine, "checkout", compare)


def _detect_closed_connection(connection: Any, record: Any, proxy: Any) -> None:
    """Make the pool replace a connection that the server has closed. Costs one system call instead of a round trip.

    An idle connection is readable only after the server closed or reset it. A new connection is not checked: a second
    rejection in one checkout makes the pool raise InvalidRequestError, which would be reported as a bug.
    """
    if record.info.pop("is_new", False):
        return
    poller = select.poll()
    if not connection.closed:
        poller.register(connection.fileno(), select.POLLIN)
    if connection.closed or poller.poll(0):
        raise DisconnectionError("the server closed this connection")
