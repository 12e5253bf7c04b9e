"""Clients that use the stack while a test changes it, and the check that no request failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.compose.deployment import Deployment
from tests.support.crowd import CLIENTS, Crowd

PAUSE_SECONDS = 0.05


@contextmanager
def traffic(deployment: Deployment) -> Iterator[Crowd]:
    """Empty the database and run clients until the end of the block."""
    deployment.empty()
    token = deployment.register()["access_token"]
    with Crowd(deployment.port, token, pause_seconds=PAUSE_SECONDS) as clients:
        yield clients


def check_traffic(deployment: Deployment, clients: Crowd, reloads: int) -> None:
    """Check that no request failed, and that each confirmed write exists exactly once."""
    assert set(clients.statuses) == {("GET", 200), ("POST", 201)}, (clients.statuses, clients.codes)
    stored = deployment.sql("SELECT title FROM posts WHERE content = 'traffic'").split()
    assert sorted(stored) == sorted(clients.written)
    # The connections were kept. A reload of nginx may close each of them once just when a request is on its way.
    assert clients.connections < len(clients.written) / 5
    assert clients.repeated <= CLIENTS * reloads
