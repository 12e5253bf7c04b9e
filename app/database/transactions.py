"""The transaction of a request or command: the only module that commits."""

from __future__ import annotations

from collections.abc import Iterator
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
