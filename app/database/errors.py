"""What a database error means: unavailable, a missing table, or the violation of a named constraint."""

from __future__ import annotations

import sqlite3

import psycopg2
from sqlalchemy import UniqueConstraint
from sqlalchemy.exc import DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.database.models import Base

# Classes of SQLSTATE for a temporary failure: connection exception, insufficient resources, operator intervention,
# system error, transaction rollback (PostgreSQL documentation, appendix A).
UNAVAILABLE_CLASSES = ("08", "53", "57", "58", "40")
UNAVAILABLE_STATES = (
    "55P03",  # lock_not_available
    "25P03",  # idle_in_transaction_session_timeout
    "25P04",  # transaction_timeout
)
UNDEFINED_TABLE = "42P01"
READ_ONLY = "25006"
FORBIDDEN = "42501"
_NOT_MIGRATED = "The database does not have the tables of this version; run: flask --app run db upgrade"
# By SQLSTATE, what is wrong with the database or its configuration, and not with the statement. An operator must act.
FAULTS = {
    READ_ONLY: "The database takes no writes; it may be a standby",
    "3F000": "The search_path has no schema that exists",
    FORBIDDEN: "The role of DATABASE_URL lacks a right",
    UNDEFINED_TABLE: _NOT_MIGRATED,
    "42703": _NOT_MIGRATED,  # undefined_column
    "53100": "The disk of the database is full",
}
_CONNECTION_FAILURES = ("connection to server ", "could not translate host name ", "FATAL: ")


class UnsuitableDatabase(psycopg2.OperationalError):
    """The database cannot be used: its encoding is not UTF-8, or the file with its password cannot be read."""


def is_unavailable(error: Exception) -> bool:
    """Return whether `error` means that the database cannot serve at the moment, and not that a statement is wrong."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, DBAPIError):
        return False
    state = getattr(error.orig, "pgcode", None)
    if state:
        return state.startswith(UNAVAILABLE_CLASSES) or state in UNAVAILABLE_STATES or state in FAULTS
    # SQLite raises exactly this class, and none of its subclasses, for a damaged file.
    if type(error.orig) is sqlite3.DatabaseError:
        return True
    return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)


def is_refused_as_read_only(error: BaseException | None) -> bool:
    """Return whether `error`, the driver's, says that the server takes no writes: after a failover, a standby."""
    return getattr(error, "pgcode", None) == READ_ONLY


def is_misconfigured(error: Exception) -> bool:
    """Return whether the database answers, but refuses this role a right, or is not in UTF-8."""
    original = getattr(error, "orig", None)
    return isinstance(original, UnsuitableDatabase) or getattr(original, "pgcode", None) == FORBIDDEN


def describe_fault(error: Exception) -> str | None:
    """Return a sentence for the operator if the database or its configuration is at fault; None for another error.

    It may contain names of tables, roles, databases and hosts, but no values of rows and no passwords.
    """
    original = getattr(error, "orig", None)
    if isinstance(original, UnsuitableDatabase):
        return str(original)
    state = getattr(original, "pgcode", None)
    if state is None:
        # psycopg2 gives no SQLSTATE for a connection that failed, only the text of libpq with the server's refusal.
        refusal = " ".join(str(original).split())
        return f"{refusal.rstrip('.')}." if refusal.startswith(_CONNECTION_FAILURES) else None
    if state not in FAULTS:
        return None
    message = getattr(getattr(original, "diag", None), "message_primary", None)
    return f"{FAULTS[state]} ({message})." if message else f"{FAULTS[state]}."


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
