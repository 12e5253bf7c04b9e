"""The fixtures of tests/conftest.py for the tests of the examples, with all examples switched on."""

# Imported fixtures are used by name, and as the parameters of others.
# ruff: noqa: F401, F811

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from flask import Flask

from tests.concurrency.race import Arena
from tests.conftest import (
    PATIENT,
    Kept,
    NewDatabase,
    alice,
    app,
    backend,
    bob,
    carol,
    client,
    clock,
    database_url,
    empty,
    join,
    kept,
    migrate,
    migrated_app,
    new_database,
    no_context_left,
    postgres,
)
from tests.support.services.gatepost import GatepostServer

FEATURES = ",".join(f"examples.{path.parent.name}" for path in sorted(Path(__file__).parent.glob("*/__init__.py")))


@contextmanager
def switched_on() -> Iterator[None]:
    """Switch the examples on for the applications that are made meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATURES", FEATURES)
        yield


@pytest.fixture(scope="session")
def shared_url(backend: str, kept: Kept, new_database: NewDatabase) -> str:
    """The database of this kind with the tables of the examples."""
    return kept.get(f"database of the examples on {backend}", lambda: nullcontext(new_database()))


@pytest.fixture(scope="session")
def shared_app(backend: str, kept: Kept, shared_url: str) -> Flask:
    """One migrated application for each kind of database."""
    with switched_on():
        return kept.get(f"application with the examples on {backend}", lambda: migrated_app(shared_url))


@pytest.fixture(scope="session")
def shared_server(backend: str, kept: Kept, new_database: NewDatabase) -> GatepostServer:
    """A real gunicorn with its own migrated database."""

    def start() -> GatepostServer:
        url = new_database()
        with switched_on():
            migrate(url)
        return GatepostServer({"DATABASE_URL": url, "RATELIMIT_ENABLED": "false", "FEATURES": FEATURES, **PATIENT})

    return kept.get(f"server with the examples on {backend}", start)


@pytest.fixture
def arena(shared_server: GatepostServer) -> Iterator[Arena]:
    """A running server on an empty database."""
    arena = Arena.of(shared_server)
    empty(arena.engine)
    with arena.watched():
        yield arena
