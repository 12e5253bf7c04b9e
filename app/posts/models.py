"""The table `posts`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, UtcDateTime, ordered_string

# In code points. A change needs a migration.
TITLE_LENGTH = 200
STATUSES = ("draft", "published")
# In code points.
EXCERPT_LENGTH = 280


class Post(Base):
    """A text by a user. `published_at` is the time of its latest publication, and null for a draft."""

    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint("status IN ('draft', 'published')", name="status"),
        # One index for each sort key: for the published posts, and for the published posts, the drafts, and all posts
        # of an author. A list then reads only rows that it shows, and its last page by cursor is as fast as the first.
        Index(None, "status", "created_at", "id"),
        Index(None, "status", "updated_at", "id"),
        Index(None, "status", "published_at", "id"),
        Index(None, "status", "title", "id"),
        Index(None, "author_id", "status", "created_at", "id"),
        Index(None, "author_id", "status", "updated_at", "id"),
        Index(None, "author_id", "status", "published_at", "id"),
        Index(None, "author_id", "status", "title", "id"),
        Index(None, "author_id", "created_at", "id"),
        Index(None, "author_id", "updated_at", "id"),
        Index(None, "author_id", "title", "id"),
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
