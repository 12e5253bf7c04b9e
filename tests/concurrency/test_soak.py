"""A few rounds of `make soak`."""

from __future__ import annotations

import pytest

from gatepost.testing.races import Arena
from tests.concurrency.soak import CHANGES, LOST_EVERY, PARALLEL, soak_changes, soak_refreshes
from tests.conftest import GRACE_SECONDS

ROUNDS = 20


def test_rounds_of_twenty_refreshes_never_fork_a_session_and_never_end_it(arena: Arena) -> None:
    figures = soak_refreshes(arena, ROUNDS, grace_seconds=GRACE_SECONDS)
    assert (figures.forks, figures.false_logouts, figures.outlived) == (0, 0, 0)
    # If the machine was too slow in every round, nothing was tested.
    assert figures.late < figures.rounds == ROUNDS
    if not figures.late:
        assert figures.answers == {"200": (ROUNDS + figures.after_loss // PARALLEL) * PARALLEL}
        assert figures.after_loss == ROUNDS // LOST_EVERY * PARALLEL
        assert (figures.rotated, figures.in_grace) == (ROUNDS, ROUNDS * (PARALLEL - 1))


@pytest.mark.parametrize("name", CHANGES)
def test_the_next_request_on_every_worker_sees_a_change(arena: Arena, name: str) -> None:
    figures = soak_changes(arena, [name], each=12)
    assert figures.changes == {name: 1}
    assert figures.requests == 24
    assert figures.stale.total() == 0, figures.answers
