"""The users table."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Index,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, UtcDateTime, ordered_string

ROLES = ("user", "admin")


class User(Base):
    """An account. The `_key` columns hold the case-folded NFC forms that are compared and searched."""

    __tablename__ = "users"
    __table_args__ = (
        UniqueConstraint("email_key"),
        CheckConstraint("role IN ('user', 'admin')", name="role"),
        Index(None, "created_at", "id"),
        Index(None, "name_key", "id"),
        # Ids are never given out again: an old token's subject must not become somebody else.
        {"sqlite_autoincrement": True},
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
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)


# What is ever told of an account, to whoever may see it; `app/users/schemas.py` says to whom.
VISIBLE_COLUMNS = (
    User.id,
    User.name,
    User.bio,
    User.email,
    User.email_verified,
    User.role,
    User.is_active,
    User.created_at,
    User.updated_at,
)
