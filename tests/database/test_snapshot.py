"""Snapshots: several reads that see one state of the database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest
from flask import Flask
from sqlalchemy import func, insert, select, text, update

from app.components import components_of
from app.database import (
    db,
    execute_autocommit,
    fetch_all,
    fetch_one,
    in_transaction,
    precompiled,
    snapshot,
    transaction,
    write,
    write_one,
)
from app.users.models import User

COUNT = select(func.count().label("number")).select_from(User)
PRECOMPILED = precompiled(COUNT)
NOW = datetime.now(UTC)
TEXTS = ("email", "email_key", "name", "name_key", "bio", "password_hash")
USER = {"role": "user", "is_active": True, "created_at": NOW, "updated_at": NOW, **dict.fromkeys(TEXTS, "x")}


def count() -> int:
    """Return the number of users, which both ways to run a statement agree on."""
    [row], [other] = fetch_all(COUNT), fetch_all(PRECOMPILED)
    assert row.number == other.number
    return int(row.number)


def add_elsewhere(name: str) -> None:
    """Insert a user on another connection, as another request would."""
    with db.engine.begin() as connection:
        connection.execute(insert(User).values(**{**USER, "email_key": name}))


@pytest.fixture(autouse=True)
def context(app: Flask) -> Iterator[None]:
    """Run each test in the context of the application."""
    with app.app_context():
        yield
        assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


def test_all_reads_of_a_snapshot_see_the_state_of_the_first() -> None:
    with snapshot():
        assert count() == 0
        add_elsewhere("a")
        assert count() == 0
        assert fetch_one(select(User.id)) is None
    assert not in_transaction()
    assert count() == 1


def test_reads_in_autocommit_see_each_change() -> None:
    assert count() == 0
    add_elsewhere("a")
    assert count() == 1


def test_a_snapshot_waits_for_no_writer_and_no_writer_for_it() -> None:
    with db.engine.begin() as writer:
        writer.execute(insert(User).values(USER))
        with snapshot():
            assert count() == 0
            writer.execute(update(User).values(name="y"))
    assert count() == 1


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_the_isolation_level_of_a_snapshot_ends_with_it() -> None:
    level = text("SELECT current_setting('transaction_isolation') AS level")
    with snapshot():
        assert fetch_all(level)[0].level == "repeatable read"
        first = fetch_all(text("SELECT pg_backend_pid() AS pid"))[0].pid
    assert fetch_all(level)[0].level == "read committed"
    with transaction():
        assert write(level)[0].level == "read committed"
        assert write(text("SELECT pg_backend_pid() AS pid"))[0].pid == first


def test_a_transaction_after_a_snapshot_writes() -> None:
    for number in range(2):
        with snapshot():
            assert count() == 2 * number
        with transaction():
            assert count() == 2 * number
            write(insert(User).values(**{**USER, "email_key": f"a{number}"}))
        write_one(insert(User).values(**{**USER, "email_key": f"b{number}"}).returning(User.id))
    assert count() == 4


def read_and(act: Callable[[], object]) -> None:
    """Read in a snapshot, and do something else in it."""
    with snapshot():
        count()
        act()


def test_a_snapshot_refuses_to_write() -> None:
    def flush_late() -> None:
        db.session.add(User(**USER))

    writes = (
        lambda: write(insert(User).values(USER)),
        lambda: write_one(insert(User).values(USER).returning(User.id)),
        lambda: execute_autocommit(insert(User).values(USER)),
        flush_late,
    )
    for attempt in writes:
        with pytest.raises(RuntimeError, match=r"snapshot|inside a transaction"):
            read_and(attempt)
        assert not in_transaction()
        assert count() == 0
        assert not db.session.new


def test_a_snapshot_in_a_transaction_is_part_of_it() -> None:
    with transaction():
        write(insert(User).values(USER))
        with snapshot():
            assert count() == 1
        assert in_transaction()
        write(update(User).values(name="y"))
    assert fetch_all(select(User.name)) == [("y",)]


def test_an_error_ends_the_snapshot() -> None:
    with pytest.raises(ZeroDivisionError):
        read_and(lambda: 1 // 0)
    assert not in_transaction()
    add_elsewhere("a")
    assert count() == 1


def test_a_snapshot_without_a_read_changes_nothing() -> None:
    with snapshot():
        pass
    assert not in_transaction()


def test_tracing_uses_the_same_snapshot(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components_of(app).executor, "is_enabled", False)
    test_all_reads_of_a_snapshot_see_the_state_of_the_first()
