"""The table `users`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    ColumnElement,
    Index,
    String,
    Text,
    UniqueConstraint,
    false,
    select,
    text,
    true,
)
from sqlalchemy.orm import InstrumentedAttribute, Mapped, mapped_column

from app.database import IDS_ARE_USED_ONCE, Base, Id, Timestamps, UtcDateTime, ordered_by, ordered_string

ROLES = ("user", "admin")
_IS_DELETED = text("deleted_at IS NOT NULL")


class User(Timestamps, Base):
    """An account. The `_key` columns hold forms for comparison, search and order (app/users/schemas.py)."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("email_key"),
        CheckConstraint("role IN ('user', 'admin')", name="role"),
        *ordered_by("created_at", "name_key"),
        # For `users purge`: contains only the accounts that are being deleted.
        Index(None, "deleted_at", postgresql_where=_IS_DELETED, sqlite_where=_IS_DELETED),
        # Otherwise an old token of a deleted user could belong to a new user.
        IDS_ARE_USED_ONCE,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    email_key: Mapped[str] = mapped_column(ordered_string(254))
    email_verified: Mapped[bool] = mapped_column(Boolean, server_default=false())
    name: Mapped[str] = mapped_column(String(80))
    name_key: Mapped[str] = mapped_column(ordered_string(240))
    bio: Mapped[str] = mapped_column(Text, server_default=text("''"))
    role: Mapped[str] = mapped_column(String(16), server_default="user")
    is_active: Mapped[bool] = mapped_column(Boolean, server_default=true())
    password_hash: Mapped[str] = mapped_column(String(255))
    # Set if the account is deleted but has more rows than one transaction deletes. It is disabled, nameless and hidden,
    # and so is what belongs to it, until `users purge` or another DELETE has deleted the rest.
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


def is_not_being_deleted(user_id: InstrumentedAttribute[int]) -> ColumnElement[bool]:
    """Return the condition that hides the rows of a user whose deletion has begun; `user_id` is their column."""
    return user_id.not_in(select(User.id).where(User.deleted_at.is_not(None)))


# Never part of a response: the password hash, the keys that are derived from other columns, and the mark of a deletion.
HIDDEN_COLUMNS = frozenset({"password_hash", "email_key", "name_key", "deleted_at"})
# The columns that responses are made from. The schemas select which of them each caller sees.
VISIBLE_COLUMNS = tuple(
    getattr(User, column.key) for column in User.__table__.columns if column.key not in HIDDEN_COLUMNS
)
