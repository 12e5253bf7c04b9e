"""The `sessions` commands."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import func, select

from app.api.idempotency.models import KeptAnswer
from app.auth.models import Session
from app.database import fetch_one
from app.security.rate_limits.database_storage import DatabaseStorage
from app.security.rate_limits.models import RateLimit
from app.security.rate_limits.storage import CounterWindow
from tests.conftest import Cast, Clock, Person

POST = {"title": "Kept", "content": "Once."}


def count(app: Flask, table: type[Session | KeptAnswer | RateLimit]) -> int:
    """Return the number of rows of a table."""
    with app.app_context():
        row = fetch_one(select(func.count()).select_from(table))
    assert row is not None
    return int(row[0])


def prune(app: Flask) -> list[int]:
    """Run `sessions prune` and return the numbers that it prints."""
    result = app.test_cli_runner().invoke(args=["sessions", "prune"])
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert [line.partition(" ")[2] for line in lines] == [
        "old sessions deleted.",
        "stored responses to Idempotency-Keys deleted.",
        "expired rate limit counters deleted.",
    ]
    return [int(line.partition(" ")[0]) for line in lines]


def test_prune_deletes_old_rows_and_prints_their_number(
    app: Flask, clock: Clock, join: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.auth.commands.BATCH", 2)
    for name in ("Ada", "Ben", "Cem", "Dan", "Eve"):
        join(name)
    clock.forward(days=13, hours=23)
    assert prune(app) == [0, 0, 0]
    clock.forward(hours=2)
    join("Fay")
    assert prune(app) == [5, 0, 0]
    assert count(app, Session) == 1
    assert prune(app) == [0, 0, 0]


def test_prune_keeps_stored_responses_for_a_day(app: Flask, clock: Clock, alice: Person) -> None:
    for key in ("first", "second"):
        assert alice.post("/posts", json=POST, headers={"Idempotency-Key": key}).status_code == 201
    clock.forward(hours=23, minutes=59)
    assert prune(app) == [0, 0, 0]
    clock.forward(minutes=2)
    assert prune(app) == [0, 2, 0]
    assert count(app, KeptAnswer) == 0
    assert count(app, Session) == 1


def test_prune_deletes_expired_counters(app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.auth.commands.BATCH", 2)
    with app.app_context():
        for number in range(5):
            DatabaseStorage().increment([CounterWindow(f"key {number}", 300)])
    assert prune(app) == [0, 0, 0]
    clock.forward(minutes=5)
    assert prune(app) == [0, 0, 5]
    assert count(app, RateLimit) == 0
