"""How connections to the database are made and kept, and which of its errors are no bugs.

Owns engine options, connection events and the judgement whether an error means "unavailable". How long to wait for
a PostgreSQL that sends nothing is in app/database/deadlines.py.
"""

from __future__ import annotations

import select
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from app.database.deadlines import OutageDetector, bounded_connection
from app.observability import metrics
from app.settings import Settings

# The server should time out first and keep the connection usable; the client's own deadline is for a
# server that is frozen or cut off, which sends nothing at all.
CLIENT_SLACK_SECONDS = 0.15
POOL_RECYCLE_SECONDS = 1800
NO_TRANSACTION = "gatepost_no_transaction"
# SQLSTATE classes that mean "not now": connection, resources, operator, system, rollback; then lock_not_available,
# read_only_sql_transaction (a standby that was just a primary), idle_in_transaction_session_timeout, and undefined
# table and column: the schema is not yet the code's.
UNAVAILABLE_CLASSES = ("08", "53", "57", "58", "40")
UNDEFINED_TABLE = "42P01"
UNAVAILABLE_STATES = ("55P03", "25006", "25P03", UNDEFINED_TABLE, "42703")


class CountingPool(QueuePool):
    """A pool that counts how often a request had to wait for a connection."""

    def _do_get(self) -> Any:
        if not self.checkedin() and self.checkedout() >= self.size():
            metrics.POOL_WAITS.inc()
        return super()._do_get()


def engine_options(settings: Settings) -> dict[str, Any]:
    """Return the options of create_engine for these settings."""
    options: dict[str, Any] = {
        "poolclass": CountingPool,
        "pool_size": settings.db_pool_size,
        "max_overflow": 0,
        # What users wrote must not reach the log through the text of an error.
        "hide_parameters": True,
        "pool_timeout": settings.db_pool_timeout_seconds,
    }
    if settings.uses_sqlite:
        Path(make_url(settings.database_url).database or "").parent.mkdir(parents=True, exist_ok=True)
        return options | {"connect_args": {"timeout": settings.db_lock_timeout_ms / 1000}}
    return options | {
        "pool_use_lifo": True,
        "pool_recycle": POOL_RECYCLE_SECONDS,
        "connect_args": postgres_arguments(
            connect_seconds=settings.db_connect_timeout_seconds,
            statement_ms=settings.db_statement_timeout_ms,
            lock_ms=settings.db_lock_timeout_ms,
        ),
    }


def postgres_arguments(*, connect_seconds: float, statement_ms: int, lock_ms: int) -> dict[str, Any]:
    """Return psycopg2's connect arguments that bound every wait on both sides."""
    server = {"statement_timeout": statement_ms, "lock_timeout": lock_ms, "timezone": "UTC"}
    # A request is over long before. One whose connection was cut holds its locks until then, its Idempotency-Key's too.
    server["idle_in_transaction_session_timeout"] = 10_000
    return {
        "connection_factory": bounded_connection(connect_seconds),
        "application_name": "gatepost",
        "options": " ".join(f"-c {name}={value}" for name, value in server.items()),
    }


def autocommit_view(engine: Engine) -> Engine:
    """Return `engine` for reads: over the same pool, with no round trips but those of their statements."""
    if engine.dialect.name == "sqlite":
        # AUTOCOMMIT would set PRAGMAs, and leave the driver to begin transactions of its own.
        return engine.execution_options(**{NO_TRANSACTION: True})
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def install_engine_events(engine: Engine, settings: Settings) -> None:
    """Prepare each connection of `engine` as its database needs it."""
    if settings.uses_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        _follow_file(engine)
        return
    wait_seconds = settings.db_statement_timeout_ms / 1000 + CLIENT_SLACK_SECONDS

    def set_deadline(connection: Any, record: Any) -> None:
        connection.wait_seconds = wait_seconds
        connection.opened_at = time.monotonic()
        record.info["is_new"] = True

    event.listen(engine, "connect", set_deadline)
    event.listen(engine, "checkout", _refuse_dead_connection)


def install_outage_detector(engine: Engine) -> Callable[[BaseException], None]:
    """Let the requests that use `engine` share the wait for a database that sends nothing.

    Returns what must be told of the driver's errors that don't come by the engine.
    """
    watch = OutageDetector()
    event.listen(engine, "do_connect", watch.connect)
    event.listen(engine, "handle_error", lambda context: watch.notice(context.original_exception))

    def refuse_doubtful(connection: Any, record: Any, proxy: Any) -> None:
        if watch.doubts(connection):
            raise DisconnectionError("the database fell silent since this connection was opened")

    event.listen(engine, "checkout", refuse_doubtful)
    return watch.notice


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # The driver must not begin transactions of its own: _begin_immediate does.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that reads and then writes fails at once when another wrote in between, whatever
    # the busy timeout: take the write lock first.
    if not connection.get_execution_options().get(NO_TRANSACTION):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _follow_file(engine: Engine) -> None:
    """Let the pool drop connections to a file that another has replaced, as restoring a backup does.

    SQLite would go on to read what is no longer there, and refuse to write it.
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
            raise DisconnectionError("the database is another file now")

    event.listen(engine, "connect", remember)
    event.listen(engine, "checkout", compare)


def _refuse_dead_connection(connection: Any, record: Any, proxy: Any) -> None:
    """Let the pool replace a connection that the server has closed, at the price of one system call.

    An idle connection has nothing to read; one whose server went away has its end of file or reset waiting. A new
    one is not asked: the pool gives up on a second refusal, with an error that looks like a bug.
    """
    if record.info.pop("is_new", False):
        return
    poller = select.poll()
    if not connection.closed:
        poller.register(connection.fileno(), select.POLLIN)
    if connection.closed or poller.poll(0):
        raise DisconnectionError("the server closed this connection")


def is_unavailable(error: Exception) -> bool:
    """Whether `error` means that the database can't serve now, rather than that we asked it nonsense."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "pgcode", None)
    if state:
        return state.startswith(UNAVAILABLE_CLASSES) or state in UNAVAILABLE_STATES
    # SQLite's errors have this very class when the file is damaged, or none of its own.
    if type(error.orig) is sqlite3.DatabaseError:
        return True
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def is_table_missing(error: Exception) -> bool:
    """Whether `error` means that the database answered, and has no such table."""
    original = getattr(error, "orig", None)
    return getattr(original, "pgcode", None) == UNDEFINED_TABLE or str(original).startswith("no such table")
