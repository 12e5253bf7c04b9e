"""Deletes the rows of an account in batches, because one statement that deletes a million posts exceeds its deadline.

docs/decisions/0014-deletion.md gives the reasons.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Column, delete, select

from app.components import components, utc_now
from app.database import Base, db, delete_rows, fetch_all, fetch_one, write
from app.users.models import User

# Small enough for the statement timeout, and for other writers to run between two batches.
BATCH = 2000
# How long a request deletes batches before it leaves the rest to the next one or to `users purge`.
REQUEST_SECONDS = 2.0


def hide(user: User) -> None:
    """Overwrite a locked account that could not be deleted at once: all readers skip rows with `deleted_at`.

    Its sessions end because it is inactive. Its address is free for another account, because no address has this key.
    """
    user.deleted_at = utc_now()
    user.is_active = False
    user.role = "user"
    user.email_key = f"deleted:{user.id}"
    user.email = user.name = user.name_key = user.bio = user.password_hash = ""
    db.session.flush()


def delete_some(user_id: int, limit: int) -> int:
    """Delete `limit` rows of an account and return `limit`; with fewer rows left, delete the account and return 0.

    Also 0 if there is no such account. Locks the account, so that of several callers each deletes other rows.
    """
    if not write(select(User.id).where(User.id == user_id).with_for_update(key_share=True)):
        return 0
    for column in _references():
        if delete_rows(column.table, column == user_id, limit) == limit:
            return limit
    # The foreign keys delete the rest.
    write(delete(User).where(User.id == user_id))
    return 0


def is_gone(user_id: int) -> bool:
    """Return whether nothing is left of a deleted account."""
    return fetch_one(select(User.id).where(User.id == user_id)) is None


def list_hidden(limit: int) -> Sequence[int]:
    """Return the ids of accounts whose deletion has begun, the oldest first."""
    statement = select(User.id).where(User.deleted_at.is_not(None)).order_by(User.deleted_at).limit(limit)
    return [row.id for row in fetch_all(statement)]


def _references() -> Iterator[Column[Any]]:
    """Yield every column, of any feature, whose rows the database deletes together with their user."""
    tables = components().tables
    for table in Base.metadata.tables.values():
        for key in table.foreign_keys if table.name in tables else ():
            if key.column is User.__table__.c.id and key.ondelete == "CASCADE":
                yield key.parent
