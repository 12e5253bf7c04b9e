"""Fixtures: servers for one module of tests, which may kill or freeze them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from gatepost.testing.races import Arena
from gatepost.testing.services import ServiceMissing, skip_or_fail
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.postgres import PostgresServer, find_binaries
from tests.conftest import migrate

Serve = Callable[..., Arena]
# The tests send many logins of the same users. MAX_QUEUE_MS is long, so that a slow request gets the response for the
# fault of the database instead of `overloaded`.
ENVIRONMENT = {"RATELIMIT_ENABLED": "false", "MAX_SESSIONS_PER_USER": "10000", "MAX_QUEUE_MS": "10000"}


@pytest.fixture(scope="module")
def database() -> Iterator[PostgresServer]:
    """A PostgreSQL server that only this module uses."""
    try:
        find_binaries()
    except ServiceMissing as missing:
        skip_or_fail(missing)
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def database_url(database: PostgresServer) -> str:
    """The URL of a migrated database on that server."""
    url = database.create_database("gatepost")
    migrate(url)
    return url


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that serves a database: `serve(url, DB_POOL_SIZE="1")`."""
    with ExitStack() as stack:

        def start(url: str, **environment: str) -> Arena:
            server = GatepostServer({"DATABASE_URL": url, **ENVIRONMENT, **environment})
            stack.enter_context(server)
            return stack.enter_context(Arena.of(server).watched())

        yield start
