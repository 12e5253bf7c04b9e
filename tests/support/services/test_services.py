"""The servers for tests: persistence, freezing, restarts and cleanup."""

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

from gatepost.testing.services import ServiceMissing, skip_or_fail
from gatepost.testing.services.postgres import PostgresServer, find_binaries
from gatepost.testing.services.process import POLL_SECONDS
from tests.support.services.redis import RedisServer

ROOT = Path(__file__).resolve().parents[3]
TIMEOUT_SECONDS = 15


@pytest.fixture(autouse=True)
def plain_psycopg2() -> Iterator[None]:
    """Remove the application's wait callback, which does not support connect_timeout."""
    callback = extensions.get_wait_callback()
    extensions.set_wait_callback(None)
    yield
    extensions.set_wait_callback(callback)


@pytest.fixture
def postgres() -> Iterator[PostgresServer]:
    """A private server, regardless of TEST_DATABASE_URL."""
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
    """Execute and commit a statement on a new connection; return the first value of the result."""
    connection = psycopg2.connect(url, connect_timeout=2)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
            return row and row[0]
    finally:
        connection.close()


def test_postgres_keeps_commits_after_kill_and_stop(postgres: PostgresServer) -> None:
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


def test_a_frozen_postgres_does_not_respond_until_it_is_thawed(postgres: PostgresServer) -> None:
    connection = psycopg2.connect(postgres.url)
    postgres.freeze()
    with pytest.raises(psycopg2.OperationalError, match="timeout"):
        query(postgres.url, "SELECT 1")
    postgres.thaw()
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)
    connection.close()


def test_a_database_in_use_can_be_dropped(postgres: PostgresServer) -> None:
    url = postgres.create_database("doomed")
    connection = psycopg2.connect(url)
    postgres.drop_database("doomed")
    connection.close()
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        query(url, "SELECT 1")


def test_an_external_postgres_is_not_stopped_or_frozen(postgres: PostgresServer) -> None:
    external_url = postgres.url.replace("postgresql://", "postgresql+psycopg2://")
    with PostgresServer(external_url) as external:
        assert not external.owned
        assert query(external.create_database("guest"), "SELECT 1") == 1
        external.drop_database("guest")
        for method in (external.stop, external.kill, external.freeze, external.start):
            with pytest.raises(RuntimeError, match="must not be stopped"):
                method()
    assert postgres.process.is_running


def test_redis_responds_after_stop_kill_and_freeze(redis: RedisServer) -> None:
    redis.stop()
    redis.start()
    redis.kill()
    redis.start()
    redis.freeze()
    redis.thaw()
    assert "Ready to accept connections" in redis.log_text()


def test_a_killed_test_run_leaves_no_server_or_files(tmp_path: Path) -> None:
    code = """
import time
from gatepost.testing.services.postgres import PostgresServer
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
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while Path(folder).exists() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    assert not Path(folder).exists()
    assert not server.is_running() or server.status() == psutil.STATUS_ZOMBIE
