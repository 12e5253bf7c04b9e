"""The table `posts`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, UtcDateTime, ordered_string

# In code points. A change needs a migration.
TITLE_LENGTH = 200
STATUSES = ("draft", "published")
# The condition of a partial index must occur literally in a query that uses it: SQLite does not consider the values of
# bound parameters.
_DRAFTS: Any = {"postgresql_where": text("status = 'draft'"), "sqlite_where": text("status = 'draft'")}


class Post(Base):
    """A text by a user. `published_at` is null for a draft."""

    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint("status IN ('draft', 'published')", name="status"),
        # One index for each sort key, for all posts and for one author's: the last page by cursor is then as fast as
        # the first.
        Index(None, "status", "created_at", "id"),
        Index(None, "status", "updated_at", "id"),
        Index(None, "status", "title", "id"),
        Index(None, "author_id", "created_at", "id"),
        Index(None, "author_id", "updated_at", "id"),
        Index(None, "author_id", "title", "id"),
        # With the indexes above, a list of few drafts would read many published posts between them.
        Index(None, "author_id", "status", "created_at", "id", **_DRAFTS),
        Index(None, "author_id", "status", "updated_at", "id", **_DRAFTS),
        Index(None, "author_id", "status", "title", "id", **_DRAFTS),
        {"sqlite_autoincrement": True},
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    author_id: Mapped[int] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"))
    title: Mapped[str] = mapped_column(ordered_string(TITLE_LENGTH))
    content: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)

    # Not a column: the service sets it to the name of the author, which is part of the response.
    author_name = ""
