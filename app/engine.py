"""How the database drivers are held to their deadlines and told apart from bugs.

Owns engine options, connection events and the judgement whether an error means "unavailable".
"""

from __future__ import annotations

import select
import time
from pathlib import Path
from typing import Any

import psycopg2
from psycopg2 import extensions
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.settings import Settings

# The server should time out first and keep the connection usable; the client's own deadline is for a
# server that is frozen or cut off, which sends nothing at all.
CLIENT_SLACK_SECONDS = 0.25
POOL_RECYCLE_SECONDS = 1800
# SQLSTATE classes that mean "not now": connection, resources, operator, system, rollback; then lock_not_available
# and read_only_sql_transaction (a standby that was just a primary).
UNAVAILABLE_CLASSES = ("08", "53", "57", "58", "40")
UNAVAILABLE_STATES = ("55P03", "25006")


class DeadlinePassed(psycopg2.OperationalError):
    """The server sent nothing within the client's own deadline."""


def engine_options(settings: Settings) -> dict[str, Any]:
    """Return the options of create_engine for these settings."""
    options: dict[str, Any] = {
        "pool_size": settings.db_pool_size,
        "max_overflow": 0,
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
    extensions.set_wait_callback(_wait)
    server = {"statement_timeout": statement_ms, "lock_timeout": lock_ms, "timezone": "UTC"}
    server["idle_in_transaction_session_timeout"] = 60_000
    return {
        "connection_factory": _bounded_connection(connect_seconds),
        "application_name": "gatepost",
        "options": " ".join(f"-c {name}={value}" for name, value in server.items()),
    }


def _bounded_connection(connect_seconds: float) -> type[extensions.connection]:
    # While it connects, a connection has but its class: the deadline of that phase stands there.
    return type("BoundedConnection", (extensions.connection,), {"wait_seconds": connect_seconds})


def _wait(connection: extensions.connection) -> None:
    """Wait for libpq, at most as long as the connection may (psycopg2's wait callback).

    Raises DeadlinePassed, after which psycopg2 closes the connection. Connections that are not ours, such as
    those of a migration, wait without end.
    """
    state = connection.poll()
    if state == extensions.POLL_OK:
        return
    seconds = getattr(connection, "wait_seconds", None)
    deadline = None if seconds is None else time.monotonic() + seconds
    while state != extensions.POLL_OK:
        poller = select.poll()
        # The descriptor may change while libpq tries the next address of a host.
        poller.register(connection.fileno(), select.POLLIN if state == extensions.POLL_READ else select.POLLOUT)
        if not poller.poll(None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000):
            raise DeadlinePassed(f"no answer from the database within {seconds} s")
        state = connection.poll()


def install_engine_events(engine: Engine, settings: Settings) -> None:
    """Prepare each connection of `engine` as its database needs it."""
    if settings.uses_sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        return
    wait_seconds = settings.db_statement_timeout_ms / 1000 + CLIENT_SLACK_SECONDS

    def set_deadline(connection: Any, record: Any) -> None:
        connection.wait_seconds = wait_seconds

    event.listen(engine, "connect", set_deadline)
    event.listen(engine, "checkout", _refuse_dead_connection)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    # The driver must not begin transactions of its own: _begin_immediate does.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_immediate(connection: Connection) -> None:
    # A deferred transaction that reads and then writes fails at once when another wrote in between, whatever
    # the busy timeout: take the write lock first.
    if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _refuse_dead_connection(connection: Any, record: Any, proxy: Any) -> None:
    """Let the pool replace a connection that the server has closed, at the price of one system call.

    An idle connection has nothing to read; one whose server went away has its end of file or reset waiting.
    """
    poller = select.poll()
    poller.register(connection.fileno(), select.POLLIN)
    if poller.poll(0):
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
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
