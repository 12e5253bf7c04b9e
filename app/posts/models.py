"""The table `posts`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import (
    IDS_ARE_USED_ONCE,
    Base,
    Id,
    Timestamps,
    UtcDateTime,
    ordered_by,
    ordered_string,
    owner,
)

# In code points. A change needs a migration.
TITLE_LENGTH = 200
STATUSES = ("draft", "published")
ORDERS = ("published_at", "created_at", "updated_at", "title")
# In code points.
EXCERPT_LENGTH = 280


class Post(Timestamps, Base):
    """A text by a user. `published_at` is the time of its latest publication, and null for a draft."""

    __tablename__ = "posts"
    __table_args__ = (
        CheckConstraint("status IN ('draft', 'published')", name="status"),
        # The lists of the published posts; of an author's published posts and drafts; of all posts of an author.
        *ordered_by(*ORDERS, within=("status",)),
        *ordered_by(*ORDERS, within=("author_id", "status")),
        *ordered_by("created_at", "updated_at", "title", within=("author_id",)),
        IDS_ARE_USED_ONCE,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    author_id: Mapped[int] = owner()
    title: Mapped[str] = mapped_column(ordered_string(TITLE_LENGTH))
    content: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime)

    # Not a column: the service sets it to the name of the author, which is part of the response.
    author_name = ""
