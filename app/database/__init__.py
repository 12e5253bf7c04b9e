"""The database as the features see it: base class, column types, reads, and the one edge that commits.

Must not know any feature. How the drivers are held to their deadlines is in app/database/engine.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import BigInteger, Connection, DateTime, Integer, MetaData, Row, String, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql import Executable
from sqlalchemy.types import TypeDecorator

from app.components import components, components_of
from app.database.engine import autocommit_view, engine_options, install_engine_events, install_outage_detector
from app.database.executor import Executor, is_precompiled
from app.settings import Settings

# Ids are positive 64-bit integers (contract, section 1).
MAX_ID = 2**63 - 1
RETRY_WITHIN_SECONDS = 0.25
# Reads run without BEGIN and ROLLBACK round trips, over the writers' pool: by an engine, or straight by the driver.
AUTOCOMMIT_ENGINE = "gatepost.reading_engine"
EXECUTOR = "gatepost.reader"


class Base(DeclarativeBase):
    """What every table shares: a name for each constraint, so that migrations and services can refer to it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class _SqliteUtc(TypeDecorator[datetime]):
    """Aware UTC datetimes on SQLite, which has no time zones: stored as UTC text that sorts by time."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


# SQLite makes ids of its own only for a column of the very type INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")
UtcDateTime = DateTime(timezone=True).with_variant(_SqliteUtc(), "sqlite")


def ordered_string(length: int) -> String:
    """A string that sorts by code point on either database: PostgreSQL's own order differs from server to server,
    and changes with the system's libraries, under indexes that were built by the old one."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


# expire_on_commit=False: the answer is written after the commit, and must not select again.
db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})


def init_app(app: Flask, settings: Settings) -> None:
    """Bind the database to the application. Opens no connection: workers fork after this."""
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(settings)
    db.init_app(app)
    found = components_of(app)
    with app.app_context():
        install_engine_events(db.engine, settings)
        found.autocommit_engine = autocommit_view(db.engine)
        reader = found.executor = Executor(db.engine)
        if not settings.uses_sqlite:
            reader.failed = install_outage_detector(db.engine)


def fetch_all(statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
    """Return every row of a read, in the open transaction if there is one, else outside of any."""
    rows: Sequence[Row[Any]] = _read(statement, parameters, only_first=False)
    return rows


def fetch_one(statement: Executable, **parameters: Any) -> Row[Any] | None:
    """Return the first row of a read, or None; where it runs is as for `fetch_all`."""
    row: Row[Any] | None = _read(statement, parameters, only_first=True)
    return row


def write_one(statement: Executable, **parameters: Any) -> Any:
    """Return the first row of a statement that writes and returns, None if it did not write: in the open transaction.

    Without one it is a transaction of its own, in one round trip, and never tried again: it may have been carried out.
    Raises IntegrityError and the like.
    """
    run = _run_within if in_transaction() else _run_alone
    return run(statement, parameters, only_first=True)


def write(statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
    """Return what a statement returns that writes or locks, in the open transaction; begins one if there is none.

    What the session holds back is written before. Raises IntegrityError and the like.
    """
    db.session.flush()
    rows: Sequence[Row[Any]] = _run_within(statement, parameters, only_first=False)
    return rows


def execute_autocommit(statement: Executable, **parameters: Any) -> Sequence[Row[Any]]:
    """Run one statement as a transaction of its own, in one round trip, and return its rows, none if it returns none.

    Never retried, because it may have been executed. Raises IntegrityError and the like, and RuntimeError inside a
    transaction: it would need a second connection, and on SQLite wait for the lock that the transaction holds.
    """
    if in_transaction():
        raise RuntimeError("execute_autocommit was called inside a transaction.")
    rows: Sequence[Row[Any]] = _run_alone(statement, parameters, only_first=False)
    return rows


def _read(statement: Executable, parameters: Mapping[str, Any], *, only_first: bool) -> Any:
    if in_transaction():
        return _run_within(statement, parameters, only_first=only_first)
    started = time.monotonic()
    try:
        return _run_alone(statement, parameters, only_first=only_first)
    except DBAPIError as error:
        # A connection that died in the pool says nothing of the database: a read may be tried on a new one. But not
        # after a wait, which would be doubled.
        if not error.connection_invalidated or time.monotonic() - started > RETRY_WITHIN_SECONDS:
            raise
    return _run_alone(statement, parameters, only_first=only_first)


def _run_alone(statement: Executable, parameters: Mapping[str, Any], *, only_first: bool) -> Any:
    reader = _reader_of(statement)
    if reader is not None:
        return reader.first(statement, parameters) if only_first else reader.all(statement, parameters)
    with components().autocommit_engine.connect() as connection:
        return _rows_of(connection, statement, parameters, only_first=only_first)


def _run_within(statement: Executable, parameters: Mapping[str, Any], *, only_first: bool) -> Any:
    reader, connection = _reader_of(statement), db.session.connection()
    if reader is None:
        return _rows_of(connection, statement, parameters, only_first=only_first)
    return (reader.first if only_first else reader.all)(statement, parameters, connection)


def _reader_of(statement: Executable) -> Executor | None:
    shared = components()
    return shared.executor if shared.uses_executor and is_precompiled(statement) else None


def _rows_of(connection: Connection, statement: Executable, parameters: Mapping[str, Any], *, only_first: bool) -> Any:
    found = connection.execute(statement, parameters)
    if not found.returns_rows:
        return None if only_first else []
    return found.first() if only_first else found.all()


def in_transaction() -> bool:
    """Whether this request has begun to write."""
    return db.session.registry.has() and db.session().in_transaction()


@contextmanager
def transaction() -> Iterator[None]:
    """The one edge that commits: everything inside is kept when it ends, and nothing when it raises."""
    try:
        yield
        if in_transaction():
            db.session.commit()
    except BaseException:
        if db.session.registry.has():
            db.session.rollback()
        raise


def violates(error: IntegrityError, constraint: str) -> bool:
    """Whether it was the constraint of this name that refused the row.

    PostgreSQL names the constraint. SQLite names the columns of a unique one, and of a foreign key nothing.
    """
    diagnostics = getattr(error.orig, "diag", None)
    if diagnostics is not None:
        return bool(diagnostics.constraint_name == constraint)
    text = str(error.orig)
    if text.startswith("FOREIGN KEY"):
        return constraint.startswith("fk_")
    return text.removeprefix("UNIQUE constraint failed: ") == _columns_of(constraint)


def _columns_of(constraint: str) -> str | None:
    for table in Base.metadata.tables.values():
        for item in table.constraints:
            if isinstance(item, UniqueConstraint) and item.name == constraint:
                return ", ".join(f"{table.name}.{column.name}" for column in item.columns)
    return None
