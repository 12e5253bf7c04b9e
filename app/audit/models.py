"""The table `auth_events`."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import CheckConstraint, String
from sqlalchemy.orm import Mapped, mapped_column

from app.database import IDS_ARE_USED_ONCE, Base, Id, UtcDateTime, ordered_by

EVENTS = (
    "registered",
    "user_created",
    "logged_in",
    "login_failed",
    "refresh_replayed",
    "logged_out",
    "session_revoked",
    "password_changed",
    "password_change_failed",
    "reauthenticated",
    "reauthentication_failed",
    "role_changed",
    "user_disabled",
    "user_enabled",
    "user_deleted",
    "audit_pruned",
)
# By whom: the user, an administrator, an operator at the command line, or a client without credentials.
ACTORS = ("self", "administrator", "operator", "anonymous")


class AuthEvent(Base):
    """An event about an account or a session. Rows are only inserted and deleted: a trigger refuses updates.

    The ids of users and sessions are no foreign keys, because events outlive both. No id is used twice. The email
    address of a failed login is stored as a keyed hash, and only if no account has it.
    """

    __tablename__ = "auth_events"
    __table_args__ = (
        CheckConstraint("actor IN ('self', 'administrator', 'operator', 'anonymous')", name="actor"),
        # One for each filter, in the order of the list.
        *ordered_by("created_at"),
        *ordered_by("created_at", within=("user_id",)),
        *ordered_by("created_at", within=("actor_id",)),
        *ordered_by("created_at", within=("event",)),
        IDS_ARE_USED_ONCE,
    )

    id: Mapped[int] = mapped_column(Id, primary_key=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    event: Mapped[str] = mapped_column(String(32))
    user_id: Mapped[int | None] = mapped_column(Id)
    email_hash: Mapped[str | None] = mapped_column(String(32))
    actor: Mapped[str] = mapped_column(String(16))
    actor_id: Mapped[int | None] = mapped_column(Id)
    session_id: Mapped[int | None] = mapped_column(Id)
    detail: Mapped[str | None] = mapped_column(String(32))
    ip: Mapped[str | None] = mapped_column(String(45))
    user_agent: Mapped[str | None] = mapped_column(String(255))
    request_id: Mapped[str | None] = mapped_column(String(128))
