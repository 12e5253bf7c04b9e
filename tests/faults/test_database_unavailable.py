"""A database without tables, on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatepost.testing.races import on_every_worker
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import migrate
from tests.faults.conftest import Serve
from tests.faults.outage import Visitor, assert_ready, assert_refused, assert_served, each


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of a database without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'empty.db'}"
    server: PostgresServer = request.getfixturevalue("database")
    return server.create_database("empty")


def test_a_start_before_the_migrations(serve: Serve, empty_database_url: str) -> None:
    arena = serve(empty_database_url)
    account = {"email": "alice@example.com", "name": "Alice", "password": "correct horse battery"}
    assert_refused(
        [
            arena.call("GET", "/posts"),
            arena.call("GET", "/users/1"),
            arena.call("POST", "/auth/login", body={"email": account["email"], "password": "wrong"}),
            arena.call("POST", "/auth/register", body=account),
        ]
    )
    ready = arena.call("GET", "/health/ready")
    expected = {"status": "unready", "database": "ok", "migrations": "unknown", "maintenance": False}
    assert (ready.status, ready.json) == (503, expected)
    assert arena.call("GET", "/health").status == 200
    migrate(empty_database_url)
    assert_served(on_every_worker(arena.server, lambda: arena.call("GET", "/posts")))
    assert_ready(arena)
    assert_served(each(Visitor(arena)))
