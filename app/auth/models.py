"""The sessions table."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from app.database import IDS_ARE_USED_ONCE, Base, Id, Owned, UtcDateTime, ordered_by

NONCE_LENGTH = 16
# How many replacements a row dates, and the digits of a time in microseconds since the epoch.
GRACE_TIMES, TIME_DIGITS = 32, 16


class Session(Owned, Base):
    """One login. Stores the generation of the newest refresh token, and no token or hash of one."""

    __tablename__ = "sessions"
    __table_args__ = (
        *ordered_by("created_at", within=("user_id",)),
        Index(None, "idle_expires_at"),
        IDS_ARE_USED_ONCE,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    # Random, and part of every token: the row of a wiped or restored database may have the id of another session.
    nonce: Mapped[str] = mapped_column(String(NONCE_LENGTH), server_default=text("''"))
    generation: Mapped[int] = mapped_column(Integer)
    # The newest generation of which a token was used.
    confirmed_generation: Mapped[int] = mapped_column(Integer, server_default="0")
    # The first of the generations that were replaced in quick succession, each within the grace period of the one
    # before it, and when it was replaced.
    grace_floor: Mapped[int] = mapped_column(Integer, server_default="1")
    grace_floor_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    # When the newest of these generations were replaced, newest first, TIME_DIGITS each.
    grace_times: Mapped[str] = mapped_column(String(GRACE_TIMES * TIME_DIGITS), server_default=text("''"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    rotated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    idle_expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_reason: Mapped[str | None] = mapped_column(String(32))
    # How often a replaced token was exchanged for the current generation in its grace period.
    grace_uses: Mapped[int] = mapped_column(Integer, server_default="0")
    user_agent: Mapped[str] = mapped_column(String(255))
    ip: Mapped[str] = mapped_column(String(45))
