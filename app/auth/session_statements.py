"""The statements on sessions that are sent often, each built once.

Must not run them: that is for app/auth/sessions.py.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, and_, bindparam, case, insert, select, update

from app.auth.models import Session
from app.database.executor import precompiled
from app.users.models import VISIBLE_COLUMNS, User


def is_live(now: Any) -> ColumnElement[bool]:
    """Whether a session has neither been ended nor run out, at a moment or a parameter of that name."""
    return and_(Session.revoked_at.is_(None), Session.expires_at > now, Session.idle_expires_at > now)


_AT: BindParameter[datetime] = bindparam("at", type_=Session.created_at.type)
_IDLE: BindParameter[datetime] = bindparam("idle", type_=Session.created_at.type)
NEW_SESSION = precompiled(
    insert(Session)
    .values(
        user_id=bindparam("new_user_id"),
        generation=1,
        created_at=_AT,
        rotated_at=_AT,
        last_used_at=_AT,
        expires_at=bindparam("new_expires_at"),
        idle_expires_at=bindparam("new_idle_expires_at"),
        grace_uses=0,
        user_agent=bindparam("new_user_agent"),
        ip=bindparam("new_ip"),
    )
    .returning(Session.id)
)
_SURPLUS = (
    select(Session.id)
    .where(Session.user_id == bindparam("owner"), is_live(_AT))
    .order_by(Session.last_used_at.desc(), Session.id.desc())
    .offset(bindparam("kept"))
)
END_IDLEST = precompiled(
    update(Session)
    .where(Session.id.in_(_SURPLUS), Session.revoked_at.is_(None))
    .values(revoked_at=_AT, revoked_reason="too_many_sessions")
    .returning(Session.id)
)
ROTATE = precompiled(
    update(Session)
    .where(
        Session.id == bindparam("session"),
        Session.user_id == bindparam("owner"),
        # Whoever disables an account ends its sessions too; an operator with SQL alone may not.
        select(User.id).where(User.id == bindparam("owner"), User.is_active).exists(),
        Session.generation == bindparam("shown"),
        is_live(_AT),
    )
    .values(
        generation=Session.generation + 1,
        rotated_at=_AT,
        last_used_at=_AT,
        grace_uses=0,
        idle_expires_at=case((Session.expires_at < _IDLE, Session.expires_at), else_=_IDLE),
    )
    .returning(Session.generation, Session.idle_expires_at)
)
# The one query that every authenticated request makes: session and user at once, by primary keys.
CALLER = precompiled(
    select(*VISIBLE_COLUMNS)
    .join(Session, Session.user_id == User.id)
    .where(Session.id == bindparam("session_id"), User.id == bindparam("user_id"), User.is_active)
    .where(is_live(bindparam("now")))
)
LIVE_SESSIONS = select(
    Session.id,
    Session.created_at,
    Session.last_used_at,
    Session.idle_expires_at.label("expires_at"),
    Session.ip,
    Session.user_agent,
    (Session.id == bindparam("session_id")).label("current"),
).where(Session.user_id == bindparam("user_id"), is_live(bindparam("now")))
