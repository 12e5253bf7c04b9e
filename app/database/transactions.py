"""The transaction of a request or command: the only module that commits."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from app.database.models import db


def in_transaction() -> bool:
    """Return whether the current request has begun a transaction."""
    return db.session.registry.has() and db.session().in_transaction()


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
