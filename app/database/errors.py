"""What a database error means: unavailable, a missing table, or the violation of a named constraint."""

from __future__ import annotations

import sqlite3

from sqlalchemy import UniqueConstraint
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.database.models import Base

# Classes of SQLSTATE for a temporary failure: connection exception, insufficient resources, operator intervention,
# system error, transaction rollback (PostgreSQL documentation, appendix A).
UNAVAILABLE_CLASSES = ("08", "53", "57", "58", "40")
UNDEFINED_TABLE = "42P01"
UNDEFINED_COLUMN = "42703"
UNAVAILABLE_STATES = (
    "55P03",  # lock_not_available
    "25006",  # read_only_sql_transaction: the server became a standby
    "25P03",  # idle_in_transaction_session_timeout
    # The schema is older than the code: the migrations have not run yet.
    UNDEFINED_TABLE,
    UNDEFINED_COLUMN,
)


def is_unavailable(error: Exception) -> bool:
    """Return whether `error` means that the database cannot serve at the moment, and not that a statement is wrong."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "pgcode", None)
    if state:
        return state.startswith(UNAVAILABLE_CLASSES) or state in UNAVAILABLE_STATES
    # SQLite raises exactly this class, and none of its subclasses, for a damaged file.
    if type(error.orig) is sqlite3.DatabaseError:
        return True
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def is_table_missing(error: Exception) -> bool:
    """Return whether the database responded that a table does not exist."""
    original = getattr(error, "orig", None)
    return getattr(original, "pgcode", None) == UNDEFINED_TABLE or str(original).startswith("no such table")


def violates(error: IntegrityError, constraint: str) -> bool:
    """Return whether the violated constraint is the one with this name.

    PostgreSQL reports the name. SQLite reports the columns of a unique constraint, and nothing for a foreign key.
    """
    diagnostics = getattr(error.orig, "diag", None)
    if diagnostics is not None:
        return bool(diagnostics.constraint_name == constraint)
    text = str(error.orig)
    if text.startswith("FOREIGN KEY"):
        return constraint.startswith("fk_")
    return text.removeprefix("UNIQUE constraint failed: ") == _columns_of(constraint)


def _columns_of(constraint: str) -> str | None:
    """Return the columns of a unique constraint in the form that SQLite reports, such as "users.email_key"."""
    for table in Base.metadata.tables.values():
        for item in table.constraints:
            if isinstance(item, UniqueConstraint) and item.name == constraint:
                return ", ".join(f"{table.name}.{column.name}" for column in item.columns)
    return None
