"""The servers that other tests rely on: they keep, forget, freeze and end as they promise."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg2
import pytest
from psycopg2 import extensions

from tests.support.services import ServiceMissing, skip_or_fail
from tests.support.services.postgres import PostgresServer, find_binaries
from tests.support.services.process import POLL_SECONDS
from tests.support.services.redis import RedisServer

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 15


@pytest.fixture(autouse=True)
def plain_psycopg2() -> Iterator[None]:
    """Let libpq wait by itself: the application's wait callback knows no connect_timeout of others."""
    callback = extensions.get_wait_callback()
    extensions.set_wait_callback(None)
    yield
    extensions.set_wait_callback(callback)


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A private server, whatever TEST_DATABASE_URL says."""
    try:
        find_binaries()
    except ServiceMissing as missing:
        skip_or_fail(missing)
    with PostgresServer() as server:
        yield server


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    try:
        server = RedisServer()
    except ServiceMissing as missing:
        skip_or_fail(missing)
    with server:
        yield server


def query(url: str, statement: str) -> object:
    """The first value of the answer, from a connection of its own, committed."""
    connection = psycopg2.connect(url, connect_timeout=2)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
            return row and row[0]
    finally:
        connection.close()


def test_postgres_keeps_commits_over_kill_and_stop(postgres: PostgresServer) -> None:
    url = postgres.create_database("kept")
    query(url, "CREATE TABLE t (n int); INSERT INTO t VALUES (1) RETURNING n")
    postgres.kill()
    with pytest.raises(psycopg2.OperationalError):
        query(url, "SELECT 1")
    postgres.start()
    assert query(url, "UPDATE t SET n = n + 1 RETURNING n") == 2
    postgres.stop()
    postgres.start()
    assert query(url, "SELECT n FROM t") == 2


def test_a_frozen_postgres_answers_nobody_and_thaws_whole(postgres: PostgresServer) -> None:
    connection = psycopg2.connect(postgres.url)
    postgres.freeze()
    with pytest.raises(psycopg2.OperationalError, match="timeout"):
        query(postgres.url, "SELECT 1")
    postgres.thaw()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    connection.close()


def test_a_dropped_database_is_gone_though_it_was_in_use(postgres: PostgresServer) -> None:
    url = postgres.create_database("doomed")
    connection = psycopg2.connect(url)
    postgres.drop_database("doomed")
    connection.close()
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        query(url, "SELECT 1")


def test_a_foreign_postgres_is_used_but_never_disturbed(postgres: PostgresServer) -> None:
    foreign_url = postgres.url.replace("postgresql://", "postgresql+psycopg2://")
    with PostgresServer(foreign_url) as foreign:
        assert not foreign.owned
        assert query(foreign.create_database("guest"), "SELECT 1") == 1
        foreign.drop_database("guest")
        for disturb in (foreign.stop, foreign.kill, foreign.freeze, foreign.start):
            with pytest.raises(RuntimeError, match="must not disturb"):
                disturb()
    assert postgres.process.is_running


def test_redis_answers_again_after_stop_kill_and_freeze(redis: RedisServer) -> None:
    redis.stop()
    redis.start()
    redis.kill()
    redis.start()
    redis.freeze()
    redis.thaw()
    assert "Ready to accept connections" in redis.log_text()


def test_a_killed_test_run_leaves_no_server_and_no_files(tmp_path: Path) -> None:
    code = """
import time
from tests.support.services.postgres import PostgresServer
server = PostgresServer()
server.freeze()
print(server.process.pid, server.process.log_path.parent, flush=True)
time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith("COVERAGE")},
    ) as run:
        assert run.stdout is not None
        pid, folder = run.stdout.readline().split()
        server = psutil.Process(int(pid))
        run.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    assert not Path(folder).exists()
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
