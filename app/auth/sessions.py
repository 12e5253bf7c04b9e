"""Sessions: one row for each login, rotation of refresh tokens, and revocation.

`rotate` first runs a single autocommitted UPDATE. Failures whose side effects must be committed, such as the revocation
after a replay, are returned and not raised, because raising rolls back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Row,
    and_,
    bindparam,
    case,
    delete,
    insert,
    or_,
    select,
    update,
)

from app.api.access import Caller
from app.api.errors import Problem, TokenRevoked
from app.api.fields import format_timestamp
from app.api.pagination import Page, paginate
from app.audit.service import record_each
from app.auth.models import Session
from app.auth.tokens import Claims, read_token
from app.clock import utc_now
from app.components import components
from app.database import db, fetch_all, fetch_one, write, write_one
from app.database.executor import precompiled
from app.observability import metrics
from app.settings import Settings
from app.users.models import VISIBLE_COLUMNS, User

GRACE_USES = 20
# The clocks of replicas may differ by this much. A rotation further in the future means that the clock was set back,
# which must not reopen a grace period that is over.
CLOCK_LEEWAY = timedelta(seconds=30)
# Until then the export shows an ended session, and its tokens are answered as revoked.
PRUNED_AFTER = timedelta(days=7)


def is_live(now: Any) -> ColumnElement[bool]:
    """Return the condition for sessions neither revoked nor expired; `now` is a time or a bind parameter."""
    return and_(Session.revoked_at.is_(None), Session.expires_at > now, Session.idle_expires_at > now)


_AT: BindParameter[datetime] = bindparam("at", type_=Session.created_at.type)
_IDLE: BindParameter[datetime] = bindparam("idle", type_=Session.created_at.type)
_INSERT = precompiled(
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
_REVOKE_SURPLUS = precompiled(
    update(Session)
    .where(Session.id.in_(_SURPLUS), Session.revoked_at.is_(None))
    .values(revoked_at=_AT, revoked_reason="too_many_sessions")
    .returning(Session.id)
)
_ROTATE = precompiled(
    update(Session)
    .where(
        Session.id == bindparam("session"),
        Session.user_id == bindparam("owner"),
        # Disabling an account revokes its sessions, but an operator may have set is_active by SQL alone.
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
# Every authenticated request runs this one query: session and user by their primary keys.
_SELECT_CALLER = precompiled(
    select(*VISIBLE_COLUMNS)
    .join(Session, Session.user_id == User.id)
    .where(Session.id == bindparam("session_id"), User.id == bindparam("user_id"), User.is_active)
    .where(is_live(bindparam("now")))
)
_SELECT_LIVE = select(
    Session.id,
    Session.created_at,
    Session.last_used_at,
    Session.idle_expires_at.label("expires_at"),
    Session.ip,
    Session.user_agent,
    (Session.id == bindparam("session_id")).label("current"),
).where(Session.user_id == bindparam("user_id"), is_live(bindparam("now")))


@dataclass(frozen=True, slots=True)
class Client:
    """The address and the user agent of a request; the address is the one that the trusted proxies report."""

    ip: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Grant:
    """The session to issue tokens for, with its current generation and the time when it expires if it is idle."""

    user_id: int
    session_id: int
    generation: int
    idle_expires_at: datetime
    is_fresh: bool


def authenticate(token: str) -> Caller:
    """Return the caller that an access token identifies.

    Raises TokenExpired, TokenInvalid, or TokenRevoked if the session has ended or the user is disabled or deleted.
    """
    return find_caller(read_token(token, "access"))


def find_caller(claims: Claims) -> Caller:
    """Return the user of a live session. Raises TokenRevoked."""
    row = fetch_one(_SELECT_CALLER, session_id=claims.session_id, user_id=claims.user_id, now=utc_now())
    if row is None:
        raise TokenRevoked
    return Caller(**row._mapping, session_id=claims.session_id, is_fresh=claims.is_fresh)


def open_session(user_id: int, client: Client) -> Grant:
    """Insert a session and revoke those beyond MAX_SESSIONS_PER_USER, the longest idle first.

    The row of the user must be locked or new, so that concurrent logins can't exceed the maximum.
    """
    now, settings = utc_now(), _settings()
    expires_at = now + timedelta(days=settings.refresh_absolute_days)
    idle_expires_at = min(now + timedelta(days=settings.refresh_idle_days), expires_at)
    if ended := write(_REVOKE_SURPLUS, owner=user_id, at=now, kept=settings.max_sessions_per_user - 1):
        _record_end([row.id for row in ended], user_id, "too_many_sessions")
    new = write(
        _INSERT,
        new_user_id=user_id,
        at=now,
        new_expires_at=expires_at,
        new_idle_expires_at=idle_expires_at,
        new_user_agent=client.user_agent,
        new_ip=client.ip,
    )
    return Grant(user_id, new[0].id, 1, idle_expires_at, is_fresh=True)


def rotate(claims: Claims) -> Grant | Problem:
    """Exchange a refresh token: advance its session to the next generation by compare-and-swap.

    Returns the grant, or TokenRevoked. The latter is not raised, because a replay has then revoked the session.
    """
    now, settings = utc_now(), _settings()
    idle, shown = now + timedelta(days=settings.refresh_idle_days), claims.generation
    row = write_one(_ROTATE, session=claims.session_id, owner=claims.user_id, shown=shown, at=now, idle=idle)
    if row is not None:
        metrics.REFRESHES.labels("rotated").inc()
        return _grant(claims, row)
    # The rest runs in one transaction: what it writes depends on what it reads.
    condition = and_(_is_session_of(claims), select(User.id).where(User.id == claims.user_id, User.is_active).exists())
    session = db.session.execute(select(Session.generation, is_live(now).label("live")).where(condition)).first()
    # Revocation is checked before grace. The current generation is no replay: the account may have been enabled
    # between the two statements.
    if session is None or not session.live or session.generation == claims.generation:
        metrics.REFRESHES.labels("revoked").inc()
        return TokenRevoked()
    return _use_grace(claims, condition, now) or _revoke_replayed(condition)


def _use_grace(claims: Claims, condition: ColumnElement[bool], now: datetime) -> Grant | None:
    """Answer a token that was just replaced with the current generation, without rotating.

    Two tabs that refresh at the same time, or a retry after a lost response, thus stay in one chain.
    """
    use = (
        update(Session)
        .where(
            condition,
            Session.generation == claims.generation + 1,
            Session.rotated_at > _grace_start(now),
            Session.rotated_at <= now + CLOCK_LEEWAY,
            Session.grace_uses < GRACE_USES,
            is_live(now),
        )
        .values(grace_uses=Session.grace_uses + 1)
        .returning(Session.generation, Session.idle_expires_at)
    )
    row = _execute(use).first()
    if row is None:
        return None
    metrics.REFRESHES.labels("grace").inc()
    return _grant(claims, row)


def validate_generation(claims: Claims) -> Problem | None:
    """Check a refresh token as `rotate` does, without rotating and without counting a use of the grace period.

    Returns None for a token that `rotate` would exchange, else TokenRevoked, after revoking the session of a replay.
    """
    now = utc_now()
    columns = select(Session.generation, Session.rotated_at)
    session = db.session.execute(columns.where(_is_session_of(claims), is_live(now))).first()
    if session is None:
        return TokenRevoked()
    is_recent = _grace_start(now) < session.rotated_at <= now + CLOCK_LEEWAY
    is_in_grace = session.generation == claims.generation + 1 and is_recent
    if session.generation == claims.generation or is_in_grace:
        return None
    return _revoke_replayed(_is_session_of(claims))


def _is_session_of(claims: Claims) -> ColumnElement[bool]:
    return and_(Session.id == claims.session_id, Session.user_id == claims.user_id)


def _grace_start(now: datetime) -> datetime:
    return now - timedelta(seconds=_settings().refresh_grace_seconds)


def _execute(statement: Any) -> Any:
    # No Session object is ever loaded, so there is none to synchronize.
    return db.session.execute(statement, execution_options={"synchronize_session": False})


def _grant(claims: Claims, row: Row[Any]) -> Grant:
    return Grant(claims.user_id, claims.session_id, row.generation, row.idle_expires_at, is_fresh=False)


def _revoke_replayed(condition: ColumnElement[bool]) -> Problem:
    _revoke(condition, "replay")
    metrics.REFRESHES.labels("replay").inc()
    return TokenRevoked("This refresh token was used before: its session has been ended for safety.")


def end_session(user_id: int, session_id: int, reason: str) -> bool:
    """End one session of a user; returns whether it was live."""
    return _revoke(and_(Session.id == session_id, Session.user_id == user_id, is_live(utc_now())), reason) > 0


def end_sessions(user_id: int, reason: str, *, except_id: int | None = None) -> int:
    """End every session of a user except the one with the id `except_id`; returns how many were ended."""
    condition = Session.user_id == user_id
    if except_id is not None:
        condition = and_(condition, Session.id != except_id)
    return _revoke(condition, reason)


def end_sessions_of_disabled(sender: object, *, user_id: int) -> None:
    """Receive the signal `user_disabled`: end the sessions of the account."""
    end_sessions(user_id, "disabled")


def _revoke(condition: ColumnElement[bool], reason: str) -> int:
    """Revoke sessions of one user and record it; returns how many were not revoked before."""
    statement = (
        update(Session)
        .where(condition, Session.revoked_at.is_(None))
        .values(revoked_at=utc_now(), revoked_reason=reason)
    )
    ended = _execute(statement.returning(Session.id, Session.user_id)).all()
    if ended:
        _record_end([row.id for row in ended], ended[0].user_id, reason)
    return len(ended)


def _record_end(session_ids: list[int], user_id: int, reason: str) -> None:
    if reason == "replay":
        # Without an actor: the owner and a thief look the same.
        record_each("refresh_replayed", user_id, session_ids)
    elif reason == "logout":
        record_each("logged_out", user_id, session_ids, actor_id=user_id)
    else:
        # A login, which ends surplus sessions, is a request without a caller.
        actor_id = user_id if reason == "too_many_sessions" else None
        record_each("session_revoked", user_id, session_ids, detail=reason, actor_id=actor_id)


def list_sessions(caller: Caller, user_id: int, query: Mapping[str, Any]) -> Page:
    """Return a page of a user's live sessions; `current` is that of the caller."""
    return paginate(
        _SELECT_LIVE,
        query,
        keys={"created_at": Session.created_at},
        id_column=Session.id,
        user_id=user_id,
        session_id=caller.session_id,
        now=utc_now(),
    )


def export(user_id: int) -> list[dict[str, Any]]:
    """Return everything stored about a user's sessions, including ended ones."""
    columns = [c for c in Session.__table__.columns if c.name != "user_id"]
    rows = fetch_all(select(*columns).where(Session.user_id == user_id).order_by(Session.id))
    return [{k: format_timestamp(v) if isinstance(v, datetime) else v for k, v in r._mapping.items()} for r in rows]


def prune(limit: int = 1000) -> int:
    """Delete up to `limit` sessions that ended or expired at least a week ago; returns how many."""
    before = utc_now() - PRUNED_AFTER
    ended = or_(Session.revoked_at < before, Session.expires_at < before, Session.idle_expires_at < before)
    return int(_execute(delete(Session).where(Session.id.in_(select(Session.id).where(ended).limit(limit)))).rowcount)


def _settings() -> Settings:
    return components().settings
