"""Connections to SQLite: pragmas, transactions, the statement timeout, and files that were replaced."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import DisconnectionError

# SQLite checks the deadline after each so many instructions of its virtual machine, about every millisecond. A check
# costs less than a microsecond. Instructions that take long, such as LIKE on long texts, make the checks rarer.
INSTRUCTIONS_PER_CHECK = 20_000
# The write-ahead log is cut to this size at the first commit after a checkpoint has moved everything to the database.
MAX_WAL_BYTES = 16 * 2**20
# How long a write that can be done later waits for the lock of another writer.
SHORT_LOCK_WAIT_MS = 100
# The execution option with the statement that begins a transaction.
BEGIN = "gatepost_begin"
PRAGMAS = (
    # Readers and the writer do not block each other.
    "journal_mode = WAL",
    f"journal_size_limit = {MAX_WAL_BYTES}",
    "foreign_keys = ON",
    # A commit survives a power failure.
    "synchronous = FULL",
)


class SqliteConnection(sqlite3.Connection):
    """A connection whose statements have a deadline, and whose driver begins no transactions.

    `begin` below begins them.
    """

    def __init__(self, *args: Any, statement_seconds: float, **kwargs: Any) -> None:
        self._statement_seconds = statement_seconds
        self._timer = _Timer()
        super().__init__(*args, **kwargs)
        self.isolation_level = None
        self.set_progress_handler(self._timer.is_expired, INSTRUCTIONS_PER_CHECK)

    def __setattr__(self, name: str, value: Any) -> None:
        # SQLAlchemy's option `isolation_level` would set "" here, also when the option ends: from then on the driver
        # would begin a transaction before each write, and a write in autocommit would be lost. SQLite's transactions
        # are serializable at any value.
        super().__setattr__(name, None if name == "isolation_level" else value)

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """Return a cursor for one statement, whose time begins now."""
        self._timer.expires_at = time.monotonic() + self._statement_seconds
        return super().cursor(*args, **kwargs)


class _Timer:
    """The deadline of the current statement. Not part of the connection, which would then refer to itself."""

    expires_at = 0.0

    def is_expired(self) -> bool:
        """Return whether SQLite shall interrupt the statement (progress handler)."""
        return time.monotonic() > self.expires_at


def connect_arguments(*, statement_ms: int, lock_ms: int) -> dict[str, Any]:
    """Return the arguments of `sqlite3.connect`."""
    return {
        # The busy timeout: how long a connection waits for the lock of another writer.
        "timeout": lock_ms / 1000,
        "factory": partial(SqliteConnection, statement_seconds=statement_ms / 1000),
    }


def install_events(engine: Engine) -> None:
    """Prepare each new connection of `engine`, and check each one that is taken from the pool."""
    event.listen(engine, "connect", _set_pragmas)
    event.listen(engine, "begin", begin)
    _detect_replaced_file(engine)


def _set_pragmas(connection: Any, record: Any) -> None:
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").close()


def begin(connection: Connection) -> None:
    """Begin a transaction, unless the connection is in autocommit.

    A deferred transaction that reads and then writes fails at once, regardless of the busy timeout, if another
    connection wrote in between. BEGIN IMMEDIATE takes the write lock first. A snapshot, which only reads, names another
    statement in the option BEGIN.
    """
    options = connection.get_execution_options()
    if options.get("isolation_level") != "AUTOCOMMIT":
        connection.exec_driver_sql(options.get(BEGIN, "BEGIN IMMEDIATE"))


@contextmanager
def short_lock_wait(connection: Connection) -> Iterator[None]:
    """Let `connection` wait for the only write lock for SHORT_LOCK_WAIT_MS instead of DB_LOCK_TIMEOUT_MS.

    Does nothing on PostgreSQL, where a row is locked by requests for the same row only, and for milliseconds.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    driver: Any = connection.connection.dbapi_connection
    usual_ms = driver.execute("PRAGMA busy_timeout").fetchone()[0]
    driver.execute(f"PRAGMA busy_timeout = {SHORT_LOCK_WAIT_MS}").close()
    try:
        yield
    finally:
        if not connection.invalidated:
            driver.execute(f"PRAGMA busy_timeout = {usual_ms}").close()


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
