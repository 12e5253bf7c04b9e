"""Deletion in batches."""

from __future__ import annotations

import pytest
from flask import Flask

from app.database import in_batches


def test_a_pause_after_each_batch_lets_other_writers_of_sqlite_in(
    app: Flask, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("app.database.transactions.time.sleep", pauses.append)
    counts = iter([2, 2, 1])
    with app.app_context():
        assert in_batches(lambda limit: next(counts), 2) == 5
    assert len(pauses) == (2 if backend == "sqlite" else 0)
    assert min(pauses, default=0) >= 0


def test_no_batch_begins_after_the_time_is_over(app: Flask) -> None:
    with app.app_context():
        assert in_batches(lambda limit: limit, 2, seconds=0) == 2
