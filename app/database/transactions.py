"""The transaction of a request or command: the only module that commits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.database import sqlite
from app.database.models import db

IS_SNAPSHOT = "gatepost_snapshot"
ONLY_READS = "The block of a snapshot must not write."
# PostgreSQL takes the snapshot of a REPEATABLE READ transaction at its first statement, and SQLite that of a deferred
# one at its first read. Neither waits for writers, nor they for it.
SNAPSHOT_OPTIONS = {"postgresql": {"isolation_level": "REPEATABLE READ"}, "sqlite": {sqlite.BEGIN: "BEGIN DEFERRED"}}


def in_transaction() -> bool:
    """Return whether the current request has begun a transaction."""
    return db.session.registry.has() and db.session().in_transaction()


@contextmanager
def snapshot() -> Iterator[None]:
    """Let all reads of the block see one state of the database: that at the time of the first of them.

    Between two statements in autocommit another request can commit, so that a row is read with parts of its next
    version. Inside an open transaction this changes nothing: there, lock the row before its parts are read. A write in
    the block raises RuntimeError. Raises DBAPIError, and TimeoutError if the pool has no free connection in time.
    """
    if in_transaction():
        yield
        return
    db.session.connection(execution_options=SNAPSHOT_OPTIONS[db.engine.dialect.name])
    db.session.info[IS_SNAPSHOT] = True
    try:
        yield
        if db.session.new or db.session.dirty or db.session.deleted:
            raise RuntimeError(ONLY_READS)
        db.session.commit()
    except BaseException:
        db.session.rollback()
        raise
    finally:
        del db.session.info[IS_SNAPSHOT]


def require_no_snapshot() -> None:
    """Raise RuntimeError inside the block of a snapshot."""
    if IS_SNAPSHOT in db.session.info:
        raise RuntimeError(ONLY_READS)


@contextmanager
def transaction() -> Iterator[None]:
    """Commit at the end of the block what the block wrote; roll back if the block raises.

    No transaction begins until the first write. Endpoints and commands use this; services only flush.
    """
    try:
        yield
        if in_transaction():
            db.session.commit()
    except BaseException:
        if db.session.registry.has():
            db.session.rollback()
        raise


def in_batches(delete_some: Callable[[int], int], batch: int, seconds: float = math.inf) -> int:
    """Call `delete_some(batch)` until it returns less than `batch`, or for about `seconds`; return the sum.

    Each call has its own transaction, so that no lock is held for long.
    """
    total, ends_at = 0, time.monotonic() + seconds
    while True:
        started = time.monotonic()
        with transaction():
            count = delete_some(batch)
        total += count
        now = time.monotonic()
        if count < batch or now >= ends_at:
            return total
        if db.engine.dialect.name == "sqlite":
            # SQLite has no queue of writers: one that waits only tries again from time to time, and would find the
            # database locked each time without a pause.
            time.sleep(now - started)
