"""Applications and their databases, for as long as a test or the whole run needs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, event, inspect

from app import create_app
from app.components import components_of
from app.database import Base, db
from app.database.migrations import upgrade_all
from app.settings import Settings, load_settings

BACKENDS = ("sqlite", "postgresql")
Thing = TypeVar("Thing")
NewClient = Callable[..., FlaskClient]
NewDatabase = Callable[[], str]
# Reading the routes and generating the OpenAPI document open no connection to this database.
UNOPENED = "sqlite:////nowhere/gatepost.db"
# On a machine that is busy with other things a race must be slow rather than refused.
PATIENT = {
    "DB_CONNECT_TIMEOUT_SECONDS": "20",
    "DB_LOCK_TIMEOUT_MS": "20000",
    "DB_STATEMENT_TIMEOUT_MS": "25000",
    "DB_POOL_TIMEOUT_SECONDS": "20",
    "MAX_QUEUE_MS": "20000",
}


class Kept:
    """What is made once in a run and closed at its end, in reverse order.

    A fixture that has parameters, or uses one that has, is made anew each time the parameter changes, module by module.
    """

    def __init__(self) -> None:
        self.stack = ExitStack()
        self._things: dict[str, Any] = {}

    def get(self, name: str, make: Callable[[], AbstractContextManager[Thing]]) -> Thing:
        """Return the thing of this name, made by entering `make()` if there is none yet."""
        if name not in self._things:
            self._things[name] = self.stack.enter_context(make())
        thing: Thing = self._things[name]
        return thing


def settings_for(database_url: str, **changes: Any) -> Settings:
    """Return settings for a test: no limits unless asked for."""
    environ = {
        "APP_ENV": "testing",
        "DATABASE_URL": database_url,
        "JWT_SECRET_KEY": "a-key-for-the-tests-alone-0123456789",
        "CORS_ORIGINS": "https://app.example.com,http://localhost:5173",
        "RATELIMIT_ENABLED": "false",
        # A busy machine must not make an outage of a slow statement, a slow connection or a lock that is held for long.
        "DB_STATEMENT_TIMEOUT_MS": PATIENT["DB_STATEMENT_TIMEOUT_MS"],
        "DB_CONNECT_TIMEOUT_SECONDS": PATIENT["DB_CONNECT_TIMEOUT_SECONDS"],
        "DB_LOCK_TIMEOUT_MS": PATIENT["DB_LOCK_TIMEOUT_MS"],
        "DB_POOL_TIMEOUT_SECONDS": PATIENT["DB_POOL_TIMEOUT_SECONDS"],
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environ.items():
            patch.setenv(name, value)
        return replace(load_settings(), **changes)


@contextmanager
def application(settings: Settings, **options: Any) -> Iterator[Flask]:
    """Make an application with these settings and options of create_app(); close its connections at the end."""
    app = create_app(settings, **options)
    try:
        yield app
    finally:
        with app.app_context():
            db.session.remove()
            db.engine.dispose()
            components_of(app).probe_engine.dispose()


def replica(database_url: str, **changes: Any) -> AbstractContextManager[Flask]:
    """Make an application with changed settings on a database that it shares."""
    return application(settings_for(database_url, **changes))


@contextmanager
def clients(settings: Settings, **options: Any) -> Iterator[NewClient]:
    """Return a function that makes a client of an application with changes of `settings`, the same for equal changes.

    `options` are those of Flask's test client.
    """
    made: dict[str, Flask] = {}
    with ExitStack() as stack:

        def make(**changes: Any) -> FlaskClient:
            name = repr(changes)
            if name not in made:
                made[name] = stack.enter_context(application(replace(settings, **changes)))
            return made[name].test_client(**options)

        yield make


@contextmanager
def migrated_app(database_url: str, **options: Any) -> Iterator[Flask]:
    """Make an application on a database of the newest schema. `options` are those of create_app()."""
    with application(settings_for(database_url), **options) as app:
        with app.app_context():
            if db.engine.dialect.name == "sqlite":
                event.listen(db.engine, "connect", skip_flushes)
            upgrade_all()
        yield app


def migrate(database_url: str) -> None:
    """Bring a database to the newest schema."""
    with application(settings_for(database_url)) as app, app.app_context():
        upgrade_all()


def skip_flushes(connection: Any, record: object) -> None:
    """Let commits to a SQLite database not wait for the disk. Only a crash of the machine would lose them."""
    connection.execute("PRAGMA synchronous=OFF").close()


@cache
def existing_tables(engine: Engine) -> frozenset[str]:
    """Return the tables of a database: a test may have imported the models of a feature that is switched off."""
    return frozenset(inspect(engine).get_table_names())


def empty(engine: Engine) -> None:
    """Delete every row of every table of the application, and begin the numbers of rows at 1 again."""
    names = existing_tables(engine)
    tables = [table for table in reversed(Base.metadata.sorted_tables) if table.name in names]
    statements = [f"DELETE FROM {table.name}" for table in tables]
    if engine.dialect.name == "postgresql":
        # TRUNCATE would take more than ten times as long, because it writes a new file for each table and index.
        columns = [table.autoincrement_column for table in tables]
        statements += [f"SELECT setval('{c.table.name}_{c.name}_seq', 1, false)" for c in columns if c is not None]
        statements = ["; ".join(statements)]
    else:
        statements.append("DELETE FROM sqlite_sequence")
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
