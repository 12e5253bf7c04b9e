"""The table `notes`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from app.database import Base, Id, UtcDateTime, ordered_string


class Note(Base):
    """A text of a user."""

    __tablename__ = "notes"
    __table_args__ = (Index(None, "user_id", "id"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    user_id: Mapped[int] = mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"))
    text: Mapped[str] = mapped_column(ordered_string(200))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
