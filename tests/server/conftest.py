"""The server that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.small_server import (
    STALL_SECONDS,
    Server,
    serving,
)


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One worker with two threads, and a second instead of many for what stalls; what waits behind it may."""
    changes = f"""
        DeadlineUnreader.head_seconds = DeadlineUnreader.idle_seconds = {STALL_SECONDS}
        DeadlineUnreader.body_seconds = {2 * STALL_SECONDS}
        ProblemWorker.first_byte_seconds = {STALL_SECONDS}
        Connection.write_stall_seconds = 1
    """
    with serving(tmp_path_factory.mktemp("server"), changes, MAX_QUEUE_MS="10000") as started:
        yield started
