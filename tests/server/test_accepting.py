"""How connections come to workers: each takes its share, and none waits for long for another to take it."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app import shares
from app.server import ProblemWorker
from tests.server.small_server import receive, request, serving


def test_worker_with_more_connections_is_ahead() -> None:
    slots = (shares.MAX_WORKERS - 1, shares.MAX_WORKERS - 2)
    try:
        assert not shares.is_ahead(1000)
        shares.announce(slots[0], 100)
        shares.announce(slots[1], 10)
        assert not shares.is_ahead(10 + shares.MARGIN)
        assert shares.is_ahead(11 + shares.MARGIN)
        shares.withdraw(slots[1])
        assert not shares.is_ahead(100)
        shares.announce(shares.MAX_WORKERS, 0)
        assert not shares.is_ahead(100)
    finally:
        for slot in slots:
            shares.withdraw(slot)


def test_workers_share_the_connections_of_a_crowd(tmp_path: Path) -> None:
    with serving(tmp_path, WEB_CONCURRENCY="2") as server:
        clients = [server.connect() for _ in range(60)]
        pids: Counter[bytes] = Counter()
        for client in clients:
            client.sendall(request("GET /draining HTTP/1.1"))
            pids[receive(client).body.split()[0]] += 1
        for client in clients:
            client.close()
    assert len(pids) == 2
    # A machine that is full of other work lets one of them be late, now and then.
    assert min(pids.values()) >= 10


def test_worker_that_is_ahead_leaves_a_connection_to_its_siblings_and_then_takes_it() -> None:
    enabled: list[bool] = []
    worker: Any = SimpleNamespace(
        nr_conns=20,
        stands_back_until=0.0,
        unaided_until=0.0,
        stand_back_seconds=ProblemWorker.stand_back_seconds,
        unaided_seconds=ProblemWorker.unaided_seconds,
        set_accept_enabled=enabled.append,
    )
    sibling = shares.MAX_WORKERS - 1
    try:
        shares.announce(sibling, 19)
        assert not ProblemWorker._leaves_to_siblings(worker)
        shares.announce(sibling, 3)
        assert ProblemWorker._leaves_to_siblings(worker)
        assert enabled == [False]
        assert worker.stands_back_until > time.monotonic()
        # It is still there: then, and for a while, the worker asks nobody.
        assert not ProblemWorker._leaves_to_siblings(worker)
        assert worker.stands_back_until == 0.0
        assert not ProblemWorker._leaves_to_siblings(worker)
        worker.unaided_until = 0.0
        assert ProblemWorker._leaves_to_siblings(worker)
    finally:
        shares.withdraw(sibling)


@pytest.mark.parametrize(("leaves", "watching", "taken"), [(True, True, 0), (False, False, 1), (False, True, 16)])
def test_a_worker_takes_no_connection_that_it_leaves_to_others(leaves: bool, watching: bool, taken: int) -> None:
    accepted: list[object] = []

    def accept_one(listener: object) -> bool:
        accepted.append(listener)
        return True

    worker: Any = SimpleNamespace(
        is_watching=watching,
        accepts_at_once=ProblemWorker.accepts_at_once,
        nr_conns=0,
        worker_connections=1000,
        _leaves_to_siblings=lambda: leaves,
        _accept_one=accept_one,
    )
    ProblemWorker.accept(worker, object())
    assert len(accepted) == taken
