"""A SQLite file that is locked, full, read-only, moved or damaged: requests get 503 in time, recovery is automatic."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import event

from app import create_app
from app.database import db
from gatepost.testing.races import Arena, on_every_worker, race, refresh, tokens_of
from gatepost.testing.services.gatepost import GatepostServer
from tests.conftest import PASSWORD, migrate, problem, settings_for
from tests.faults.conftest import ENVIRONMENT
from tests.faults.outage import (
    Visitor,
    assert_alive_but_unready,
    assert_ready,
    assert_refused,
    assert_served,
    fill_pools,
)


@pytest.fixture(scope="module")
def sqlite_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a migrated database."""
    path = tmp_path_factory.mktemp("sqlite") / "gatepost.db"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="module")
def server(sqlite_path: Path) -> Iterator[GatepostServer]:
    """Start Gatepost with default deadlines. All tests share it, because no fault requires a restart."""
    with GatepostServer({"DATABASE_URL": f"sqlite:///{sqlite_path}", **ENVIRONMENT}) as server:
        yield server


@pytest.fixture
def visitor(server: GatepostServer) -> Iterator[Visitor]:
    with Arena.of(server).watched() as arena:
        yield Visitor(arena)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of the database on another connection."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


def test_locked_by_another_writer(visitor: Visitor, sqlite_path: Path) -> None:
    with locked(sqlite_path):
        # As many requests as a worker has threads, so that each waits for the lock and not for a thread.
        refused = race(visitor.write, visitor.edit, visitor.log_in, visitor.write)
        assert_refused(refused)
        assert min(reply.seconds for reply in refused) > 0.7
        # Readers do not wait for the writer.
        read = race(visitor.read, visitor.look)
        assert_served(read)
        assert max(reply.seconds for reply in read) < 0.5
        assert_ready(visitor.arena)
    assert_served(on_every_worker(visitor.arena.server, visitor.write))
    assert_served([visitor.edit(), visitor.log_in()])


def test_a_read_that_cannot_confirm_a_refresh_does_not_wait(visitor: Visitor, sqlite_path: Path) -> None:
    arena = visitor.arena
    member = arena.join()
    first = member.log_in()
    second = tokens_of(refresh(arena, first))
    confirmed = "SELECT confirmed_generation FROM sessions WHERE user_id = :id"
    with locked(sqlite_path):
        replies = race(*[partial(arena.call, "GET", "/auth/me", token=second.access)] * 3)
        assert_served(replies)
        assert max(reply.seconds for reply in replies) < 0.6
        assert arena.number(confirmed, id=member.id) == 1
    assert arena.call("GET", "/auth/me", token=second.access).status == 200
    assert arena.number(confirmed, id=member.id) == 2
    # The connection waits for locks as before.
    with ThreadPoolExecutor() as pool:
        with locked(sqlite_path):
            waiting = [pool.submit(visitor.write) for _ in range(4)]
            time.sleep(0.4)
        assert_served([future.result() for future in waiting])


def test_a_lock_that_is_let_go_in_time(visitor: Visitor, sqlite_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        with locked(sqlite_path):
            waiting = [pool.submit(visitor.write) for _ in range(4)]
            time.sleep(0.4)
        assert_served([future.result() for future in waiting])


def test_a_file_that_is_moved_away_and_back(visitor: Visitor, sqlite_path: Path) -> None:
    fill_pools(visitor)
    elsewhere = sqlite_path.parent / "elsewhere"
    elsewhere.mkdir()

    def move(source: Path, target: Path) -> None:
        for path in source.glob("gatepost.db*"):
            path.rename(target / path.name)

    move(sqlite_path.parent, elsewhere)
    for way in visitor.ways:
        assert_refused(on_every_worker(visitor.arena.server, way))
    health, ready = visitor.arena.call("GET", "/health"), visitor.arena.call("GET", "/health/ready")
    assert (health.status, ready.status, ready.json["migrations"]) == (200, 503, "unknown")
    for path in sqlite_path.parent.glob("gatepost.db*"):
        path.unlink()
    move(elsewhere, sqlite_path.parent)
    for way in visitor.ways:
        assert_served(on_every_worker(visitor.arena.server, way))
    assert_ready(visitor.arena)


def test_a_file_that_is_none(visitor: Visitor, sqlite_path: Path) -> None:
    fill_pools(visitor)
    content = sqlite_path.with_name("content")
    visitor.arena.rows("PRAGMA wal_checkpoint(TRUNCATE)")
    sqlite_path.rename(content)
    sqlite_path.write_bytes(b"Something else than a database. " * 1000)
    # Every connection of every pool must meet the other file: one that did not would still use the deleted WAL.
    for way in visitor.ways * 4:
        assert_refused(on_every_worker(visitor.arena.server, way))
    assert_alive_but_unready(visitor.arena)
    for path in sqlite_path.parent.glob("gatepost.db*"):
        path.unlink()
    content.rename(sqlite_path)
    for way in visitor.ways:
        assert_served(on_every_worker(visitor.arena.server, way))


class Switch:
    """Executes a PRAGMA on every connection from the next checkout on, to make the database refuse writes."""

    def __init__(self, app: Flask) -> None:
        self.pragma = ""
        with app.app_context():
            event.listen(db.engine, "checkout", self._obey)

    def _obey(self, connection: sqlite3.Connection, record: object, proxy: object) -> None:
        if self.pragma:
            connection.execute(f"PRAGMA {self.pragma}").close()


@pytest.mark.parametrize(
    ("broken", "repaired"),
    # Root can write to read-only files, and a test must not fill the disk. These give the same errors.
    [("query_only = ON", "query_only = OFF"), ("max_page_count = 1", "max_page_count = 1073741823")],
    ids=["read-only", "full"],
)
def test_a_file_that_takes_nothing_more(tmp_path: Path, broken: str, repaired: str) -> None:
    url = f"sqlite:///{tmp_path / 'gatepost.db'}"
    migrate(url)
    app = create_app(settings_for(url))
    switch, client = Switch(app), app.test_client()
    account = {"email": "alice@example.com", "name": "Alice", "password": PASSWORD}
    answer = client.post("/api/v1/auth/register", json=account)
    headers = {"Authorization": f"Bearer {answer.get_json()['access_token']}"}
    post = {"title": "Long", "content": "x" * 50_000}

    switch.pragma = broken
    refused = client.post("/api/v1/posts", json=post, headers=headers)
    assert problem(refused) == (503, "database_unavailable")
    assert refused.headers["Retry-After"] == "1"
    assert client.get("/api/v1/auth/me", headers=headers).status_code == 200

    switch.pragma = repaired
    assert client.get("/api/v1/posts").get_json()["items"] == []
    assert client.post("/api/v1/posts", json=post, headers=headers).status_code == 201
    with app.app_context():
        db.engine.dispose()
