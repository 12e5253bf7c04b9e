"""The functions by which services run statements. Precompiled ones go through app/database/executor.py."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, FromClause, Row, Table, delete, select, tuple_
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.sql import Executable

from app.components import components
from app.database.errors import is_unavailable
from app.database.models import db
from app.database.transactions import in_transaction, require_no_snapshot

RETRY_WITHIN_SECONDS = 0.25


def fetch_all(statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
    """Return all rows of a read: in the open transaction if there is one, otherwise in autocommit.

    Raises DBAPIError, and TimeoutError if the pool has no free connection in time.
    """
    executor = components().executor
    if in_transaction():
        return executor.execute(statement, parameters, db.session.connection())
    started = time.monotonic()
    try:
        return executor.execute(statement, parameters)
    except DBAPIError as error:
        # The server may have closed the connection while it was idle in the pool: retry once on another connection.
        # After a longer wait the server itself has a problem, and a retry would double the wait.
        if not error.connection_invalidated or time.monotonic() - started > RETRY_WITHIN_SECONDS:
            raise
    return executor.execute(statement, parameters)


def fetch_one(statement: Executable, **parameters: Any) -> Row[Any] | None:
    """Return the first row of a read, or None. Otherwise like `fetch_all`."""
    rows = fetch_all(statement, **parameters)
    return rows[0] if rows else None


def write(statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
    """Run a statement that writes or locks, in the transaction, which begins if none is open. Returns its rows.

    Flushes the session first. Raises DBAPIError, such as IntegrityError.
    """
    require_no_snapshot()
    db.session.flush()
    return components().executor.execute(statement, parameters, db.session.connection())


def delete_rows(table: FromClause, condition: ColumnElement[bool], limit: int, *order: Any) -> int:
    """Delete up to `limit` rows of `table`, the first in this order, in the transaction; return how many.

    The keys are read first: with a subquery in their place, and statistics of a time when the table was nearly empty,
    PostgreSQL reads the whole table for each row of the subquery. Raises DBAPIError.
    """
    key = tuple(table.primary_key)
    rows = fetch_all(select(*key).where(condition).order_by(*order).limit(limit))
    if not rows:
        return 0
    chosen = tuple_(*key).in_([tuple(row) for row in rows])
    # SQLAlchemy's type of a model's table is wider than what it is.
    return len(write(delete(cast("Table", table)).where(chosen).returning(*key)))


def write_one(statement: Executable, **parameters: Any) -> Any:
    """Run a statement that writes and returns rows. Returns its first row, or None if there is none.

    Runs in the open transaction if there is one, otherwise in autocommit, which takes one round trip instead of three.
    Never retries, because a statement whose response was lost may have been committed. Raises DBAPIError.
    """
    connection = None
    if in_transaction():
        require_no_snapshot()
        connection = db.session.connection()
    rows = components().executor.execute(statement, parameters, connection)
    return rows[0] if rows else None


def execute_autocommit(statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
    """Run one statement in autocommit, which takes one round trip, and return its rows.

    Never retries, like `write_one`. Raises DBAPIError, and RuntimeError inside a transaction, where it would need a
    second connection and, on SQLite, wait for the lock that the transaction holds.
    """
    if in_transaction():
        raise RuntimeError("execute_autocommit was called inside a transaction.")
    return components().executor.execute(statement, parameters)


def write_or_skip(statement: Executable, **parameters: Any) -> None:
    """Run a write that a later request repeats if it was not done, such as a note that something was seen.

    Runs in the open transaction if there is one. Otherwise it runs in autocommit, and is skipped if the database is
    read-only, unavailable, or locked by another writer of SQLite: a request that only reads must not fail or wait for
    it. Raises DBAPIError if the statement is wrong.
    """
    if in_transaction():
        write(statement, **parameters)
        return
    try:
        components().executor.execute_with_short_wait(statement, parameters)
    except (DBAPIError, PoolTimeout) as error:
        if not is_unavailable(error):
            raise
