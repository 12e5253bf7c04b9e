"""What is sent when connections are made: parameters of the URL, our own settings, and isolation levels."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import Connection, create_engine, insert, make_url, text

from app import create_app
from app.components import components_of
from app.database import db, execute_autocommit, fetch_all, postgres, precompiled
from app.database.engine import engine_options, install_engine_events
from app.database.sqlite import MAX_WAL_BYTES
from app.maintenance.models import ServiceContext
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import API, migrate, settings_for

LEVELS = ("SERIALIZABLE", "REPEATABLE READ")


@pytest.fixture
def url(postgres: PostgresServer) -> Iterator[str]:
    """An empty PostgreSQL database."""
    name = f"gatepost_{secrets.token_hex(4)}"
    yield postgres.create_database(name)
    postgres.drop_database(name)


@contextmanager
def application(url: str, **changes: Any) -> Iterator[Flask]:
    """An application in its context, which closes its connections at the end."""
    app = create_app(settings_for(url, **changes))
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()
        components_of(app).probe_engine.dispose()


def value_of(name: str) -> str:
    """Return a setting of the server for the application's connections."""
    return str(fetch_all(text("SELECT current_setting(:name)"), name=name)[0][0])


def administer(url: str, *statements: str) -> None:
    """Execute statements in a database, in autocommit."""
    connection = psycopg2.connect(url)
    connection.autocommit = True
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def test_the_search_path_of_the_url_applies_to_migrations_and_requests(url: str) -> None:
    administer(url, "CREATE SCHEMA app1")
    migrate(f"{url}?options=-csearch_path%3Dapp1")
    with application(f"{url}?options=-csearch_path%3Dapp1") as app:
        assert value_of("search_path") == "app1"
        assert fetch_all(text("SELECT schemaname FROM pg_tables WHERE tablename = 'posts'")) == [("app1",)]
        assert app.test_client().get(f"{API}/posts").status_code == 200
        ready = app.test_client().get("/health/ready")
        assert (ready.status_code, ready.get_json()["migrations"]) == (200, "ok")


def test_timeouts_come_from_the_settings_and_the_rest_from_the_url(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c work_mem=5MB -c lock_timeout=7s")
    options = "-c%20statement_timeout%3D9s%20-c%20geqo%3Doff&options=-c%20jit%3Doff"
    given = f"{url}?options={options}&application_name=mine&sslmode=disable&connect_timeout=7&keepalives_idle=30"
    with application(given, db_statement_timeout_ms=1234, db_lock_timeout_ms=567):
        names = ("statement_timeout", "lock_timeout", "geqo", "jit", "work_mem", "application_name")
        assert [value_of(name) for name in names] == ["1234ms", "567ms", "off", "off", "5MB", "mine"]
        parameters = db.session.connection().connection.dbapi_connection.info.dsn_parameters  # type: ignore[union-attr]
        found = {name: parameters[name] for name in ("sslmode", "connect_timeout", "keepalives_idle")}
        assert found == {"sslmode": "disable", "connect_timeout": "7", "keepalives_idle": "30"}


def test_the_name_of_the_application_is_shown(url: str) -> None:
    with application(url):
        assert value_of("application_name") == "gatepost"


@pytest.mark.parametrize(
    ("query", "seconds"),
    [("", 2.5), ("?connect_timeout=1", 1), ("?connect_timeout=9", 2.5), ("?connect_timeout=0", 2.5)],
)
def test_the_shorter_connect_timeout_applies(query: str, seconds: float) -> None:
    arguments = postgres.connect_arguments(make_url(f"postgresql+psycopg2://db/name{query}"), connect_seconds=2.5)
    assert arguments["connection_factory"].wait_seconds == seconds


def test_settings_of_the_database_do_not_change_what_the_code_relies_on(url: str) -> None:
    migrate(url)
    name = make_url(url).database
    settings = ("default_transaction_isolation = serializable", "client_encoding = latin1", "timezone = 'Asia/Tokyo'")
    administer(url, *(f"ALTER DATABASE {name} SET {setting}" for setting in settings))
    with application(f"{url}?client_encoding=latin1"):
        names = ("transaction_isolation", "client_encoding", "timezone")
        assert [value_of(name) for name in names] == ["read committed", "UTF8", "UTC"]
        assert db.session.execute(text("SHOW transaction_isolation")).scalar() == "read committed"
        assert fetch_all(text("SELECT :text"), text="\u20ac \U0001f600") == [("\u20ac \U0001f600",)]


def level_of(connection: Connection) -> str:
    """Return the isolation level of the open transaction; SQLite's is always the same."""
    if connection.dialect.name == "sqlite":
        return "SERIALIZABLE" if connection.connection.dbapi_connection.in_transaction else ""  # type: ignore[union-attr]
    return str(connection.execute(text("SHOW transaction_isolation")).scalar()).upper()


INSERT = precompiled(insert(ServiceContext))
ROW = "INSERT INTO service_context (id, maintenance, message, updated_at) VALUES (1, false, '', '2026-01-01 00:00:00')"


def test_an_isolation_level_applies_until_the_connection_is_returned(app: Flask, backend: str) -> None:
    levels = LEVELS if backend == "postgresql" else LEVELS[:1]
    with app.app_context():
        for level in levels:
            with db.engine.connect().execution_options(isolation_level=level) as connection:
                connection.execute(text("SELECT 1"))
                assert level_of(connection) == level
                connection.rollback()
                connection.execute(text("SELECT 1"))
                assert level_of(connection) == level
            # The same connection of the pool.
            with db.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
                assert level_of(connection) == ("READ COMMITTED" if backend == "postgresql" else "SERIALIZABLE")
        # The connection's autocommit still commits.
        execute_autocommit(INSERT, id=1, maintenance=False, message="", updated_at=datetime.now(UTC))
        with db.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM service_context")) == 1


def test_autocommit_asked_of_sqlalchemy_commits_each_statement(app: Flask) -> None:
    with app.app_context():
        with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(ROW))
        with db.engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM service_context")) == 1


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True, scope="session")
def test_an_isolation_level_of_the_whole_engine(app: Flask, database_url: str) -> None:
    settings = components_of(app).settings
    engine = create_engine(settings.database_url, isolation_level="SERIALIZABLE", **engine_options(settings))
    install_engine_events(engine, settings)
    for _ in range(2):
        with engine.connect() as connection:
            assert level_of(connection) == "SERIALIZABLE"
    with engine.execution_options(isolation_level="READ COMMITTED").connect() as connection:
        assert level_of(connection) == "READ COMMITTED"
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(ROW))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM service_context")) == 1
        assert level_of(connection) == "SERIALIZABLE"
    engine.dispose()


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True, scope="session")
def test_the_write_ahead_log_shrinks_after_a_large_transaction(app: Flask, database_url: str) -> None:
    def size() -> int:
        return (path.parent / f"{path.name}-wal").stat().st_size

    path = Path(make_url(database_url).database or "")
    with app.app_context():
        with db.engine.begin() as connection:
            connection.execute(text("CREATE TABLE bulk (content BLOB)"))
            for _ in range(3):
                connection.execute(text("INSERT INTO bulk VALUES (zeroblob(:bytes))"), {"bytes": MAX_WAL_BYTES // 2})
        assert size() > MAX_WAL_BYTES
        for _ in range(2):
            with db.engine.begin() as connection:
                connection.execute(text("INSERT INTO bulk VALUES ('')"))
        assert size() <= MAX_WAL_BYTES
        with db.engine.begin() as connection:
            connection.execute(text("DROP TABLE bulk"))
