"""Runs precompiled statements directly on the driver's connection, without SQLAlchemy's overhead for each execution.

SQLAlchemy compiles each statement once, and keeps the connection pool, its events and the exceptions. Its work for each
execution costs more than the driver and the network together (docs/performance.md).
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, TypeVar, cast
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, Engine, Executable
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError

from app.database.engine import autocommit_view
from app.database.errors import is_refused_as_read_only
from app.database.sqlite import short_lock_wait

Statement = TypeVar("Statement", bound=Executable)
Convert = Callable[[Any], Any]
PRECOMPILED = "gatepost_precompiled"


def precompiled(statement: Statement) -> Statement:
    """Mark a statement to be compiled once and then reused for every execution.

    Everything that differs between executions must be a named `bindparam`, or a column of an INSERT without VALUES.
    Each execution must pass the same set of parameters; a missing one raises KeyError.
    """
    marked: Statement = statement.execution_options(**{PRECOMPILED: True})
    return marked


class CompiledStatement:
    """The SQL text of a statement for one dialect, with the conversions of its parameters and columns."""

    def __init__(self, statement: Any, dialect: Dialect, parameter_names: Collection[str]) -> None:
        compiled = statement.compile(dialect=dialect, column_keys=list(parameter_names))
        if compiled.post_compile_params:
            raise ValueError("A statement whose text depends on its values cannot be precompiled.")
        self.text = str(compiled)
        # The names of the parameters in order, for a driver with positional parameters (SQLite).
        self._positions: Sequence[str] | None = compiled.positiontup
        # Excludes the required parameters, so that a missing one raises KeyError instead of becoming NULL.
        self._defaults: Mapping[str, Any] = {
            name: value
            for name, value in compiled.construct_params(_check=False).items()
            if not compiled.binds[name].required
        }
        self._bind_processors: Mapping[str, Convert] = compiled._bind_processors
        self._columns = compiled._result_columns
        # Faster than the constructor, which also checks the number of values.
        self._make_row = partial(tuple.__new__, _row_class([column.keyname for column in self._columns]))
        self._dialect = dialect
        # Unknown until the first execution, because the driver then reports the types of the columns.
        self._result_processors: list[Convert | None] | None = None

    def bind(self, parameters: Mapping[str, Any]) -> Any:
        """Return the parameters in the driver's form. Raises KeyError for a missing one."""
        values = {**self._defaults, **parameters}
        for name, convert in self._bind_processors.items():
            values[name] = convert(values[name])
        return values if self._positions is None else [values[name] for name in self._positions]

    def rows(self, fetched: Sequence[Sequence[Any]], description: Sequence[Sequence[Any]] | None) -> list[Any]:
        """Return the driver's rows as named tuples of Python values; `description` is that of the cursor."""
        make_row, processors = self._make_row, self._result_processors
        if processors is None:
            processors = self._result_processors = self._find_processors(description or ())
        if not processors:
            return [make_row(values) for values in fetched]
        return [
            make_row(
                value if convert is None else convert(value) for value, convert in zip(values, processors, strict=True)
            )
            for values in fetched
        ]

    def _find_processors(self, description: Sequence[Sequence[Any]]) -> list[Convert | None]:
        """Return the conversion of each column, or an empty list if no column needs one."""
        dialect = self._dialect
        processors = [
            column.type.dialect_impl(dialect).result_processor(dialect, type_code)
            for column, (_, type_code, *_) in zip(self._columns, description, strict=True)
        ]
        return processors if any(processors) else []


def _row_class(names: Sequence[str]) -> Any:
    named: Any = namedtuple("Row", names)  # type: ignore[misc]
    # `_mapping` as in SQLAlchemy's Row.
    return type("Row", (named,), {"__slots__": (), "_mapping": property(named._asdict)})


class Executor:
    """Executes the statements of one engine. Precompiled ones go directly to the driver, others through SQLAlchemy."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._autocommit_engine = autocommit_view(engine)
        self._driver_error = engine.dialect.loaded_dbapi.Error
        # SQLite's connections are in autocommit already (app/database/engine.py).
        self._sets_autocommit = engine.dialect.name != "sqlite"
        # Weak, so that a statement that is built for one request is garbage-collected with it.
        self._compiled: WeakKeyDictionary[Any, CompiledStatement] = WeakKeyDictionary()
        # False sends every statement through SQLAlchemy, whose events tracing needs.
        self.is_enabled = True
        # Instrumentation of direct executions, which cause no events of SQLAlchemy. `before` may change the SQL text.
        self.before: Callable[[str], str] = str
        self.after: Callable[[], None] = lambda: None
        self.on_error: Callable[[BaseException], None] = lambda error: None

    def execute(
        self, statement: Executable, parameters: Mapping[str, Any], transaction: Connection | None = None
    ) -> Sequence[Any]:
        """Return the rows of a statement; an empty list if it returns none.

        Runs on the connection of `transaction`, or without one in autocommit on a connection of the pool. Raises
        DBAPIError, and TimeoutError if the pool has no free connection in time.
        """
        if not self.is_enabled or PRECOMPILED not in statement.get_execution_options():
            with nullcontext(transaction) if transaction else self._autocommit_engine.connect() as used:
                result = used.execute(statement, parameters)
                return result.all() if result.returns_rows else []
        compiled = self._compiled.get(statement)
        if compiled is None:
            compiled = self._compiled[statement] = CompiledStatement(statement, self._engine.dialect, parameters.keys())
        values = compiled.bind(parameters)
        with self._driver_connection(transaction, compiled.text) as connection:
            cursor = connection.cursor()
            text = self.before(compiled.text)
            try:
                cursor.execute(text, values)
                description = cursor.description
                fetched = cursor.fetchall() if description else ()
            finally:
                self.after()
                cursor.close()
        return compiled.rows(fetched, description)

    def execute_with_short_wait(self, statement: Executable, parameters: Mapping[str, Any]) -> None:
        """Run a statement in autocommit, with `short_lock_wait`. Raises as `execute` does."""
        with self._autocommit_engine.connect() as connection, short_lock_wait(connection):
            self.execute(statement, parameters, connection)

    @contextmanager
    def _driver_connection(self, transaction: Connection | None, text: str) -> Iterator[Any]:
        """Give the driver's connection of `transaction`, or one from the pool in autocommit.

        Translates the driver's exceptions, and invalidates a connection that they show to be broken: the pool replaces
        it, and a transaction on it ends.
        """
        owner: Any = transaction
        connection: Any = None
        try:
            if transaction is not None:
                connection = transaction.connection.dbapi_connection
            else:
                owner = self._engine.raw_connection()
                connection = owner.dbapi_connection
                if self._sets_autocommit:
                    # Changes a flag of the driver, which otherwise sends BEGIN before the statement.
                    connection.autocommit = True
            yield connection
        except self._driver_error as error:
            self.on_error(error)
            translated = self._translate(error, text, connection)
            if owner is not None and translated.connection_invalidated:
                owner.invalidate(error)
            raise translated from error
        except BaseException as error:
            # An interrupted driver leaves the connection in an unknown state.
            if owner is not None:
                owner.invalidate(error)
            raise
        finally:
            if transaction is None and owner is not None:
                if self._sets_autocommit and not connection.closed:
                    connection.autocommit = False
                owner.close()

    def _translate(self, error: Any, text: str, connection: Any) -> DBAPIError:
        """Return the exception of SQLAlchemy for one of the driver's."""
        dialect = self._engine.dialect
        translated: Any = DBAPIError.instance(
            text,
            None,
            error,
            self._driver_error,
            hide_parameters=True,
            connection_invalidated=dialect.is_disconnect(error, connection, None) or is_refused_as_read_only(error),
            dialect=dialect,
        )
        return cast("DBAPIError", translated)
