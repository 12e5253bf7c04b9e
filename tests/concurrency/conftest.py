"""The server and database for the tests of races."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.concurrency.race import Arena
from tests.conftest import empty
from tests.support.services.gatepost import GatepostServer


@pytest.fixture
def arena(shared_server: GatepostServer) -> Iterator[Arena]:
    """Return a running server on an empty database."""
    arena = Arena.of(shared_server)
    empty(arena.engine)
    with arena.watched():
        yield arena
