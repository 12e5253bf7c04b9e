"""Statements straight through the driver: SQLAlchemy writes each once, and then steps aside.

Owns the way from a Core statement that was built once to its rows. The pool, its events and the errors stay
SQLAlchemy's; what it does anew for each execution costs more than driver and network do (docs/performance.md).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Executable
from sqlalchemy.exc import DBAPIError

Statement = TypeVar("Statement", bound=Executable)
Convert = Callable[[Any], Any]
PRECOMPILED = "gatepost_once"


def precompiled(statement: Statement) -> Statement:
    """Mark a statement that is built once and run often: what it takes to run it is kept for good.

    All that differs from one run to the next must be a `bindparam` with a name. A run that lacks one is a KeyError.
    """
    marked: Statement = statement.execution_options(**{PRECOMPILED: True})
    return marked


def is_precompiled(statement: Executable) -> bool:
    """Whether a statement is so marked."""
    return PRECOMPILED in statement.get_execution_options()


class CompiledStatement:
    """A statement as one database takes it: its text, and how values go in and come out."""

    def __init__(self, statement: Any, engine: Engine) -> None:
        dialect = engine.dialect
        compiled = statement.compile(dialect=dialect)
        if compiled.post_compile_params:
            raise ValueError("A statement whose text depends on its values can't be written once.")
        self.text = str(compiled)
        self._order: Sequence[str] | None = compiled.positiontup
        # Without those that a call must give: one that is forgotten must not become NULL.
        self._given: Mapping[str, Any] = {
            name: value
            for name, value in compiled.construct_params(_check=False).items()
            if not compiled.binds[name].required
        }
        self._in: Mapping[str, Convert] = compiled._bind_processors
        columns = compiled._result_columns
        # Without a look at how many values there are, which the statement says.
        self._row = partial(tuple.__new__, _row_class([column.keyname for column in columns]))
        found = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._out: list[Convert | None] | None = found if any(found) else None

    def values(self, parameters: Mapping[str, Any]) -> Any:
        """Return the parameters as the driver takes them. Raises KeyError for one that is not given."""
        values = {**self._given, **parameters}
        for name, convert in self._in.items():
            values[name] = convert(values[name])
        return values if self._order is None else [values[name] for name in self._order]

    def row(self, values: Sequence[Any]) -> Any:
        """Return what the driver gave as a row with named columns."""
        if self._out is None:
            return self._row(values)
        pairs = zip(values, self._out, strict=True)
        return self._row(value if convert is None else convert(value) for value, convert in pairs)


def _row_class(names: Sequence[str]) -> Any:
    named: Any = namedtuple("Row", names)  # type: ignore[misc]
    # As SQLAlchemy's rows have it.
    return type("Row", (named,), {"__slots__": (), "_mapping": property(named._asdict)})


class Executor:
    """Runs the statements of one engine that were built once: within a transaction, or each by itself as its own."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._errors = engine.dialect.loaded_dbapi.Error
        # SQLite's connections begin no transaction by themselves (app/database/engine.py).
        self._begins = engine.dialect.name != "sqlite"
        # Weak, or a statement that is marked and yet built for each request would never be let go.
        self._written: WeakKeyDictionary[Any, CompiledStatement] = WeakKeyDictionary()
        # For who counts and marks statements, and for who must know of errors: each as SQLAlchemy's events do.
        self.before: Callable[[str], str] = str
        self.after: Callable[[], None] = lambda: None
        self.failed: Callable[[BaseException], None] = lambda error: None

    def all(self, statement: Executable, parameters: Mapping[str, Any], within: Connection | None = None) -> list[Any]:
        """Return all rows, none of a statement that returns nothing, `within` the transaction of a connection if given.

        Raises DBAPIError, and TimeoutError when no connection is free in time.
        """
        written = self._write(statement)
        return [written.row(values) for values in self._run(written, parameters, _all, within) or ()]

    def first(self, statement: Executable, parameters: Mapping[str, Any], within: Connection | None = None) -> Any:
        """Return the first row, or None. Raises as `all` does."""
        written = self._write(statement)
        values = self._run(written, parameters, _first, within)
        return None if values is None else written.row(values)

    def _write(self, statement: Executable) -> CompiledStatement:
        written = self._written.get(statement)
        if written is None:
            written = self._written[statement] = CompiledStatement(statement, self._engine)
        return written

    def _run(
        self,
        written: CompiledStatement,
        parameters: Mapping[str, Any],
        fetch: Callable[[Any], Any],
        within: Connection | None,
    ) -> Any:
        values = written.values(parameters)
        if within is not None:
            return self._try(written, values, fetch, within, within.connection.dbapi_connection)
        try:
            pooled = self._engine.raw_connection()
        except self._errors as error:
            raise self._translated(error, written, None) from error
        try:
            return self._try(written, values, fetch, pooled, pooled.dbapi_connection, alone=self._begins)
        finally:
            pooled.close()

    def _try(
        self,
        written: CompiledStatement,
        values: Any,
        fetch: Callable[[Any], Any],
        owner: Any,
        connection: Any,
        *,
        alone: bool = False,
    ) -> Any:
        # An owner that is told that its connection is invalid ends the transaction, or lets the pool make a new one.
        try:
            return self._execute(connection, written.text, values, fetch, alone=alone)
        except self._errors as error:
            self.failed(error)
            translated = self._translated(error, written, connection)
            if translated.connection_invalidated:
                owner.invalidate(error)
            raise translated from error
        except BaseException as error:
            # Nobody knows where the driver stopped.
            owner.invalidate(error)
            raise

    def _execute(self, connection: Any, text: str, values: Any, fetch: Callable[[Any], Any], *, alone: bool) -> Any:
        if alone:
            # A flag in this process: the driver would send BEGIN before the statement, and ROLLBACK after it.
            connection.autocommit = True
        cursor = connection.cursor()
        text = self.before(text)
        try:
            cursor.execute(text, values)
            return fetch(cursor)
        finally:
            self.after()
            cursor.close()
            if alone and not connection.closed:
                connection.autocommit = False

    def _translated(self, error: Any, written: CompiledStatement, connection: Any) -> DBAPIError:
        """Return SQLAlchemy's exception for one of the driver's."""
        dialect = self._engine.dialect
        translated: Any = DBAPIError.instance(
            written.text,
            None,
            error,
            self._errors,
            hide_parameters=True,
            connection_invalidated=dialect.is_disconnect(error, connection, None),
            dialect=dialect,
        )
        return cast("DBAPIError", translated)


def _all(cursor: Any) -> Any:
    return cursor.fetchall() if cursor.description else None


def _first(cursor: Any) -> Any:
    return cursor.fetchone()
