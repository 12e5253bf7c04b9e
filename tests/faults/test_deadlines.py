"""Client-side deadlines and the circuit breaker, with a frozen PostgreSQL."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, nullcontext
from typing import Any

import psycopg2
import pytest
from flask import Flask
from sqlalchemy import Engine, create_engine, literal_column, make_url, select, text
from sqlalchemy.exc import OperationalError

from app import create_app
from app.database import db, fetch_all, in_transaction, precompiled, snapshot, transaction, write_one
from app.database.deadlines import DatabaseOutage, DeadlineExceeded, deadline
from app.database.engine import CLIENT_SLACK_SECONDS
from app.database.errors import is_unavailable
from app.database.postgres import connect_arguments
from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import settings_for

CONNECT_SECONDS = 0.8
SERVER_SECONDS = 0.7
STATEMENT_SECONDS = SERVER_SECONDS + CLIENT_SLACK_SECONDS
SELECT_ONE: Any = precompiled(select(literal_column("1").label("one")))


@pytest.fixture
def app(database: PostgresServer, database_url: str) -> Iterator[Flask]:
    """Return an application with short deadlines."""
    settings = settings_for(
        database_url, db_connect_timeout_seconds=CONNECT_SECONDS, db_statement_timeout_ms=int(SERVER_SECONDS * 1000)
    )
    app = create_app(settings)
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def engine(app: Flask) -> Engine:
    return db.engine


@contextmanager
def frozen(database: PostgresServer) -> Iterator[None]:
    database.freeze()
    try:
        yield
    finally:
        database.thaw()


@contextmanager
def takes(at_least: float, at_most: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert at_least <= time.monotonic() - started < at_most


def wait_for_recovery() -> None:
    """Wait until the circuit breaker has closed, with a guard far above the promised time."""
    ends = time.monotonic() + 20
    while "database-probe" in {thread.name for thread in threading.enumerate()}:
        assert time.monotonic() < ends
        time.sleep(0.02)


def test_a_deadline_closes_the_connection_and_applies_once(engine: Engine, database: PostgresServer) -> None:
    connection = engine.connect()
    connection.execute(text("SELECT 1"))
    raw = connection.connection.driver_connection
    assert raw is not None
    with frozen(database):
        with takes(STATEMENT_SECONDS, 5 * STATEMENT_SECONDS), pytest.raises(OperationalError) as caught:
            connection.execute(text("SELECT 2"))
        assert isinstance(caught.value.orig, DeadlineExceeded)
        assert caught.value.connection_invalidated
        assert is_unavailable(caught.value)
        assert raw.closed
        with takes(0, STATEMENT_SECONDS / 2):
            connection.rollback()
            connection.close()
    wait_for_recovery()
    with engine.connect() as another:
        assert another.scalar(text("SELECT 3")) == 3


def test_a_transaction_that_meets_a_deadline_ends_at_once(app: Flask, database: PostgresServer) -> None:
    def write() -> None:
        with transaction():
            db.session.execute(text("CREATE TABLE half_done ()"))
            with frozen(database):
                db.session.execute(text("SELECT 1"))

    with takes(STATEMENT_SECONDS, 2 * STATEMENT_SECONDS), pytest.raises(OperationalError):
        write()
    wait_for_recovery()
    assert fetch_all(text("SELECT to_regclass('half_done')"))[0][0] is None


def test_a_snapshot_that_meets_a_deadline_ends_at_once(app: Flask, database: PostgresServer) -> None:
    def read(*, is_frozen: bool) -> None:
        with snapshot(), frozen(database) if is_frozen else nullcontext():
            fetch_all(SELECT_ONE)

    with takes(STATEMENT_SECONDS, 2 * STATEMENT_SECONDS), pytest.raises(OperationalError):
        read(is_frozen=True)
    assert not in_transaction()
    wait_for_recovery()
    read(is_frozen=False)


def test_a_server_that_times_out_first_leaves_the_connection_usable(engine: Engine) -> None:
    with engine.connect() as connection:
        with takes(SERVER_SECONDS, 5 * SERVER_SECONDS), pytest.raises(OperationalError) as caught:
            connection.execute(text("SELECT pg_sleep(5)"))
        assert not caught.value.connection_invalidated
        assert is_unavailable(caught.value)
        connection.rollback()
        assert connection.scalar(text("SELECT 1")) == 1


def test_a_deadline_limits_the_sum_of_all_waits(engine: Engine) -> None:
    def sleep(times: int) -> None:
        with engine.connect() as connection:
            for _ in range(times):
                connection.execute(text("SELECT pg_sleep(0.2)"))

    with deadline(0.5), takes(0.5, 1.5), pytest.raises(OperationalError):
        sleep(10)
    wait_for_recovery()
    with takes(1.2, 6.0):
        sleep(6)


def test_only_the_first_waits_for_a_deadline(engine: Engine, database: PostgresServer) -> None:
    with frozen(database):
        with takes(CONNECT_SECONDS, 5 * CONNECT_SECONDS), pytest.raises(OperationalError):
            engine.connect()
        # The next requests fail at once.
        with takes(0, CONNECT_SECONDS):
            errors = errors_of_race(engine.connect, 4)
    assert [type(error.orig) for error in errors] == [DatabaseOutage] * 4
    wait_for_recovery()
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1


def test_connections_from_before_an_outage_do_not_each_wait_for_a_deadline(
    app: Flask, engine: Engine, database: PostgresServer
) -> None:
    before = backends_of_three(engine)

    def write() -> Any:
        with app.app_context():
            return write_one(SELECT_ONE)

    with frozen(database):
        with takes(STATEMENT_SECONDS, 2 * STATEMENT_SECONDS), pytest.raises(OperationalError):
            write()
        # Two connections are left in the pool. They still look open, and the pool hands them out.
        with takes(0, STATEMENT_SECONDS * 0.8):
            errors = errors_of_race(write, 3)
    assert [type(error.orig) for error in errors] == [DatabaseOutage] * 3
    wait_for_recovery()
    assert write().one == 1
    # The last one of the pool is new already. The two below it in the stack are replaced when they are taken.
    assert before.isdisjoint(backends_of_three(engine))


def backends_of_three(engine: Engine) -> set[int]:
    """Return the PostgreSQL processes of three connections that are taken from the pool at the same time."""
    with ExitStack() as stack:
        connections = [stack.enter_context(engine.connect()) for _ in range(3)]
        return {connection.execute(text("SELECT pg_backend_pid()")).scalar_one() for connection in connections}


@contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_a_connection_attempt_that_timed_out_is_closed_immediately(app: Flask) -> None:
    with closing(socket.create_server((LOOPBACK, 0))) as black_hole, no_collector():
        port = black_hole.getsockname()[1]
        url = make_url(f"postgresql+psycopg2://u:p@{LOOPBACK}:{port}/d")
        engine = create_engine(url, connect_args=connect_arguments(url, connect_seconds=0.1))
        with pytest.raises(OperationalError) as caught:
            engine.connect()
        assert isinstance(caught.value.orig, DeadlineExceeded)
        with closing(black_hole.accept()[0]) as client:
            client.settimeout(1)
            while client.recv(1024):
                pass


def errors_of_race(act: Callable[[], object], count: int) -> list[OperationalError]:
    """Return the errors that `act` raises in this many simultaneous threads."""
    errors = []

    def try_it() -> None:
        with pytest.raises(OperationalError) as caught:
            act()
        errors.append(caught.value)

    threads = [threading.Thread(target=try_it) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_recovery_is_detected_without_a_request(engine: Engine, database: PostgresServer) -> None:
    with frozen(database):
        with pytest.raises(OperationalError):
            engine.connect()
        assert "database-probe" in {thread.name for thread in threading.enumerate()}
    wait_for_recovery()


def test_other_connections_have_no_deadline(app: Flask, database_url: str) -> None:
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(%s)", (STATEMENT_SECONDS * 2,))


def test_a_read_is_one_round_trip(app: Flask, database: PostgresServer, database_url: str) -> None:
    with closing(psycopg2.connect(database_url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("ALTER DATABASE gatepost SET log_statement = 'all'")
            try:
                fetch_all(text("SELECT 'warm up'"))
                for _ in range(3):
                    fetch_all(text("SELECT 'the read'"))
                fetch_all(text("SELECT 'enough'"))
            finally:
                cursor.execute("ALTER DATABASE gatepost RESET log_statement")
    log = database.log_text()
    said = log[log.rindex("warm up") : log.rindex("enough")]
    statements = [line for line in said.splitlines() if "statement: " in line]
    assert [line.partition("statement: ")[2] for line in statements[:-1]] == ["SELECT 'the read'"] * 3
