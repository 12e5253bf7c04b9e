"""Rate limit counters in the database: atomic, in one statement, kept across restarts, and deleted when they expire."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import pytest
from flask import Flask
from sqlalchemy import delete, func, select, text
from sqlalchemy.exc import SQLAlchemyError

from app.database import db, execute_autocommit, fetch_one, in_transaction, transaction
from app.security.rate_limits.database_storage import _CLEAR, _LOCK_EXPIRED, DatabaseStorage, _read_statement, prune
from app.security.rate_limits.models import RateLimit
from app.security.rate_limits.storage import Count, CounterWindow
from gatepost.testing.applications import replica
from gatepost.testing.plans import Statement, explaining
from gatepost.testing.statements import counted
from tests.conftest import Clock

ACCOUNT, ADDRESS = CounterWindow("account", 60), CounterWindow("address", 300)
# Waits for a lock or a connection must not fail a race on a busy machine.
LONG_WAITS = {"db_lock_timeout_ms": 60_000, "db_statement_timeout_ms": 60_000, "db_pool_timeout_seconds": 60}


def instance(database_url: str) -> AbstractContextManager[Flask]:
    """Another application instance, with a connection pool of its own, on the same database."""
    return replica(database_url, **LONG_WAITS)


def count_rows() -> int:
    row = fetch_one(select(func.count()).select_from(RateLimit))
    assert row is not None
    return int(row[0])


def test_a_hit_without_the_table_is_an_error(context: Flask) -> None:
    with without_table(), pytest.raises(SQLAlchemyError):
        DatabaseStorage().increment([ACCOUNT])


@contextmanager
def without_table() -> Iterator[None]:
    with transaction():
        db.session.execute(text("ALTER TABLE rate_limits RENAME TO renamed"))
    try:
        yield
    finally:
        with transaction():
            db.session.execute(text("ALTER TABLE renamed RENAME TO rate_limits"))


def test_counts_are_returned_in_the_order_of_the_counters(context: Flask, clock: Clock) -> None:
    storage = DatabaseStorage()
    storage.increment([ADDRESS])
    clock.forward(seconds=1)
    assert storage.increment([ADDRESS, ACCOUNT]) == [Count(2, 299), Count(1, 60)]
    assert storage.read([ACCOUNT, ADDRESS]) == [Count(1, 60), Count(2, 299)]
    assert storage.read([CounterWindow("other", 5), ADDRESS]) == [Count(0, 5), Count(2, 299)]


@pytest.mark.parametrize("windows", [[ACCOUNT], [ACCOUNT, ADDRESS]])
def test_each_call_is_one_statement(context: Flask, windows: list[CounterWindow]) -> None:
    storage = DatabaseStorage()
    with counted(context) as statements:
        storage.increment(windows)
        storage.increment(windows)
        storage.read(windows)
        storage.clear(windows[0].key)
    assert [statement.split()[0] for statement in statements] == ["INSERT", "INSERT", "SELECT", "DELETE"]


def test_a_hit_is_committed_at_once(context: Flask, database_url: str) -> None:
    DatabaseStorage().increment([ACCOUNT])
    assert not in_transaction()
    with instance(database_url) as other, other.app_context():
        assert DatabaseStorage().read([ACCOUNT])[0].hits == 1


def test_a_hit_inside_a_transaction_is_a_programming_error(context: Flask) -> None:
    """On SQLite it would wait for the lock that the transaction holds, until the lock timeout."""
    with transaction():
        db.session.execute(delete(RateLimit))
        with pytest.raises(RuntimeError, match="inside a transaction"):
            DatabaseStorage().increment([ACCOUNT])
        with pytest.raises(RuntimeError, match="inside a transaction"):
            execute_autocommit(select(RateLimit.key))


def test_concurrent_hits_from_two_instances_get_different_counts(context: Flask, database_url: str) -> None:
    """Two counters in one statement, of which one is shared by all, so that the statements compete for its row."""
    threads, rounds = 8, 10
    barrier = threading.Barrier(threads)

    def hit(number: int) -> list[tuple[int, int]]:
        counters = [CounterWindow(f"account {number % 3}", 60), ADDRESS]
        with instances[number % 2].app_context():
            barrier.wait()
            counts = [DatabaseStorage().increment(counters) for _ in range(rounds)]
        return [(account.hits, address.hits) for account, address in counts]

    with instance(database_url) as one, instance(database_url) as other, ThreadPoolExecutor(threads) as pool:
        instances = (one, other)
        found = [list(pool.map(hit, range(threads)))]
    counts = [count for results in found for result in results for count in result]
    assert sorted(address for _, address in counts) == list(range(1, threads * rounds + 1))
    expected = [count for number in (3, 3, 2) for count in range(1, number * rounds + 1)]
    assert sorted(account for account, _ in counts) == sorted(expected)


def test_counts_survive_a_restart(context: Flask, database_url: str) -> None:
    for count in (1, 2):
        with instance(database_url) as app, app.app_context():
            assert DatabaseStorage().increment([ACCOUNT])[0].hits == count


def test_expired_counters_are_pruned_in_batches_and_open_ones_kept(context: Flask, clock: Clock) -> None:
    storage = DatabaseStorage()
    for number in range(5):
        storage.increment([CounterWindow(f"old {number}", 60)])
    storage.increment([ADDRESS])
    clock.forward(seconds=60)
    for deleted in (2, 2, 1, 0):
        with transaction():
            assert prune(2) == deleted
    assert count_rows() == 1
    assert storage.read([ADDRESS])[0].hits == 1


def test_no_statement_reads_the_whole_table(context: Flask, clock: Clock) -> None:
    times = {"now": clock.now, "latest_start": clock.now}
    with explaining(context) as explain:
        assert explain(Statement(_read_statement(2), {"key_0": "a", "key_1": "b", **times})) == []
        assert explain(Statement(_CLEAR, {"key": "a"})) == []
        assert explain(Statement(_LOCK_EXPIRED, {"now": clock.now, "limit": 2})) == []
