"""One server for each kind of database, which is checked after every module of cases."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from gatepost.testing.services.postgres import PostgresServer
from tests.hostile.cases import assert_unharmed
from tests.hostile.target import Target, serving

NewDatabase = Callable[[str], str]


@pytest.fixture(scope="session")
def new_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewDatabase:
    """Return a function that makes an empty database of a kind."""

    def make(backend: str) -> str:
        if backend == "sqlite":
            return f"sqlite:///{tmp_path_factory.mktemp('hostile') / 'gatepost.db'}"
        postgres: PostgresServer = request.getfixturevalue("postgres")
        return postgres.create_database(f"hostile_{secrets.token_hex(4)}")

    return make


@pytest.fixture(scope="session")
def started(new_database: NewDatabase) -> Iterator[Callable[[str], Target]]:
    """Return a function that returns the server on a kind of database.

    Each server is started once; a fixture with a parameter would start one for each module and parameter.
    """
    targets: dict[str, Target] = {}
    with ExitStack() as stack:

        def start(backend: str) -> Target:
            if backend not in targets:
                targets[backend] = stack.enter_context(serving(new_database(backend)))
            return targets[backend]

        yield start


@pytest.fixture(scope="module")
def target(started: Callable[[str], Target], backend: str) -> Iterator[Target]:
    """The server. After each module it must still respond, and its data must be unchanged."""
    target = started(backend)
    yield target
    assert_unharmed(target)
