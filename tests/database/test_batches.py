"""Deletion in batches."""

from __future__ import annotations

import pytest
from flask import Flask
from sqlalchemy import Column, Integer, MetaData, Table, func, insert, select

from app.database import db, delete_rows, in_batches, transaction


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


@pytest.mark.parametrize("keys", [("a",), ("a", "b")])
def test_a_batch_has_the_first_rows_whatever_their_key(app: Flask, keys: tuple[str, ...]) -> None:
    columns = (Column(name, Integer, primary_key=name in keys) for name in ("a", "b"))
    table = Table("batched", MetaData(), *columns)
    with app.app_context():
        table.create(db.engine)
        try:
            with db.engine.begin() as connection:
                connection.execute(insert(table), [{"a": number, "b": -number} for number in range(5)])
            with transaction():
                assert delete_rows(table, table.c.a > 0, 2, table.c.b) == 2
            with db.engine.connect() as connection:
                assert connection.execute(select(table.c.a).order_by(table.c.a)).scalars().all() == [0, 1, 2]
            with transaction():
                assert delete_rows(table, table.c.a > 0, 9) == 2
                assert delete_rows(table, table.c.a > 0, 9) == 0
            with db.engine.connect() as connection:
                assert connection.scalar(select(func.count()).select_from(table)) == 1
        finally:
            db.session.remove()
            table.drop(db.engine)
