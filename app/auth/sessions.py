"""Sessions: one row a login, rotation by compare-and-swap, and every way a session ends.

Owns the sessions table. A rotation, one statement, commits by itself; a refusal to be kept is returned, not raised.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, delete, or_, select, update

from app.api.access import Caller
from app.api.errors import Problem, TokenRevoked
from app.api.fields import format_timestamp
from app.api.pagination import Page, paginate
from app.audit.service import record_each
from app.auth.models import Session
from app.auth.session_statements import CALLER, END_IDLEST, LIVE_SESSIONS, NEW_SESSION, ROTATE, is_live
from app.auth.tokens import Claims, read_token
from app.clock import utc_now
from app.components import components
from app.database import db, fetch_all, fetch_one, write, write_one
from app.observability import metrics
from app.settings import Settings
from app.users.models import User

GRACE_USES = 20
# A clock that is set back further than replicas' clocks may differ must not open a grace that has long closed.
CLOCK_LEEWAY = timedelta(seconds=30)
# How long an ended session stays, for its owner to ask about and for replays to be told apart.
PRUNED_AFTER = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from, as far as the trusted proxies say."""

    ip: str
    user_agent: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A session to make tokens for: its newest generation, and when that one dies of idleness."""

    user_id: int
    session_id: int
    generation: int
    idle_expires_at: datetime
    is_fresh: bool


def authenticate(token: str) -> Caller:
    """Return the caller whose access token this is.

    Raises TokenExpired, TokenInvalid, or TokenRevoked when its session has ended or its user is disabled or gone.
    """
    return find_caller(read_token(token, "access"))


def find_caller(claims: Claims) -> Caller:
    """Return the user of a session that lives. Raises TokenRevoked."""
    row = fetch_one(CALLER, session_id=claims.session_id, user_id=claims.user_id, now=utc_now())
    if row is None:
        raise TokenRevoked
    return Caller(**row._mapping, session_id=claims.session_id, is_fresh=claims.is_fresh)


def open_session(user_id: int, client: Client) -> Grant:
    """Begin a session for a user whose row is locked or new; ends the idlest of too many."""
    now, settings = utc_now(), _settings()
    expires_at = now + timedelta(days=settings.refresh_absolute_days)
    idle_expires_at = min(now + timedelta(days=settings.refresh_idle_days), expires_at)
    if ended := write(END_IDLEST, owner=user_id, at=now, kept=settings.max_sessions_per_user - 1):
        _record_end([row.id for row in ended], user_id, "too_many_sessions")
    new = write(
        NEW_SESSION,
        new_user_id=user_id,
        at=now,
        new_expires_at=expires_at,
        new_idle_expires_at=idle_expires_at,
        new_user_agent=client.user_agent,
        new_ip=client.ip,
    )
    return Grant(user_id, new[0].id, 1, idle_expires_at, is_fresh=True)


def rotate(claims: Claims) -> Grant | Problem:
    """Exchange a refresh token: move its session to the next generation, if the token is of the present one.

    Returns the grant, or TokenRevoked as an outcome: a replay has then ended the session, which must be committed.
    """
    now, settings = utc_now(), _settings()
    idle, shown = now + timedelta(days=settings.refresh_idle_days), claims.generation
    row = write_one(ROTATE, session=claims.session_id, owner=claims.user_id, shown=shown, at=now, idle=idle)
    if row is not None:
        metrics.REFRESHES.labels("rotated").inc()
        return _grant(claims, row)
    # From here on in a transaction: what is read stays together with what is written for it.
    here = and_(_row_of(claims), select(User.id).where(User.id == claims.user_id, User.is_active).exists())
    session = db.session.execute(select(Session.generation, is_live(now).label("live")).where(here)).first()
    # Before grace: what is revoked stays so. Nor is the present token a replay, if the account is enabled only now.
    if session is None or not session.live or session.generation == claims.generation:
        metrics.REFRESHES.labels("revoked").inc()
        return TokenRevoked()
    return _grace(claims, here, now) or _replayed(here)


def _grace(claims: Claims, here: ColumnElement[bool], now: datetime) -> Grant | None:
    """Answer the token that was just replaced with the generation that replaced it, moving nothing.

    Two tabs that refresh at once, or a retry after a lost answer, so stay in one chain.
    """
    use = (
        update(Session)
        .where(
            here,
            Session.generation == claims.generation + 1,
            Session.rotated_at > _grace_began(now),
            Session.rotated_at <= now + CLOCK_LEEWAY,
            Session.grace_uses < GRACE_USES,
            is_live(now),
        )
        .values(grace_uses=Session.grace_uses + 1)
        .returning(Session.generation, Session.idle_expires_at)
    )
    row = _execute(use)
    if row is None:
        return None
    metrics.REFRESHES.labels("grace").inc()
    return _grant(claims, row)


def validate_generation(claims: Claims) -> Problem | None:
    """Judge a refresh token that is shown but not exchanged as `rotate` would; moves nothing, counts no use.

    Returns None if it would be exchanged, else TokenRevoked as an outcome to be committed.
    """
    now = utc_now()
    columns = select(Session.generation, Session.rotated_at)
    session = db.session.execute(columns.where(_row_of(claims), is_live(now))).first()
    if session is None:
        return TokenRevoked()
    is_recent = _grace_began(now) < session.rotated_at <= now + CLOCK_LEEWAY
    is_in_grace = session.generation == claims.generation + 1 and is_recent
    return None if session.generation == claims.generation or is_in_grace else _replayed(_row_of(claims))


def _row_of(claims: Claims) -> ColumnElement[bool]:
    return and_(Session.id == claims.session_id, Session.user_id == claims.user_id)


def _grace_began(now: datetime) -> datetime:
    return now - timedelta(seconds=_settings().refresh_grace_seconds)


def _execute(statement: Any) -> Row[Any] | None:
    return db.session.execute(statement, execution_options={"synchronize_session": False}).first()


def _grant(claims: Claims, row: Row[Any]) -> Grant:
    return Grant(claims.user_id, claims.session_id, row.generation, row.idle_expires_at, is_fresh=False)


def _replayed(here: ColumnElement[bool]) -> Problem:
    _end(here, "replay")
    metrics.REFRESHES.labels("replay").inc()
    return TokenRevoked("This refresh token was used before: its session has been ended for safety.")


def end_session(user_id: int, session_id: int, reason: str) -> bool:
    """End one session of a user; returns whether it was live."""
    return _end(and_(Session.id == session_id, Session.user_id == user_id, is_live(utc_now())), reason) > 0


def end_sessions(user_id: int, reason: str, *, but: int | None = None) -> int:
    """End every session of a user, but the one with the id `but`; returns how many were ended."""
    condition = Session.user_id == user_id
    if but is not None:
        condition = and_(condition, Session.id != but)
    return _end(condition, reason)


def end_all_of_disabled(sender: object, *, user_id: int) -> None:
    """End the sessions of an account that is being disabled."""
    end_sessions(user_id, "disabled")


def _end(condition: ColumnElement[bool], reason: str) -> int:
    """End and record what lives of one user's sessions; returns how many."""
    statement = (
        update(Session)
        .where(condition, Session.revoked_at.is_(None))
        .values(revoked_at=utc_now(), revoked_reason=reason)
    )
    ended = db.session.execute(
        statement.returning(Session.id, Session.user_id), execution_options={"synchronize_session": False}
    ).all()
    if ended:
        _record_end([row.id for row in ended], ended[0].user_id, reason)
    return len(ended)


def _record_end(session_ids: list[int], user_id: int, reason: str) -> None:
    if reason == "replay":
        # By the owner or by a thief: nobody knows.
        record_each("refresh_replayed", user_id, session_ids)
    elif reason == "logout":
        record_each("logged_out", user_id, session_ids, actor_id=user_id)
    else:
        # A login, which ends the idlest of too many, has no caller yet.
        actor_id = user_id if reason == "too_many_sessions" else None
        record_each("session_revoked", user_id, session_ids, detail=reason, actor_id=actor_id)


def list_sessions(caller: Caller, query: Mapping[str, Any]) -> Page:
    """Return a page of the caller's live sessions."""
    return paginate(
        LIVE_SESSIONS,
        query,
        keys={"created_at": Session.created_at},
        id_column=Session.id,
        user_id=caller.id,
        session_id=caller.session_id,
        now=utc_now(),
    )


def export(user_id: int) -> list[dict[str, Any]]:
    """Return everything stored about a user's sessions, ended ones included."""
    columns = [c for c in Session.__table__.columns if c.name != "user_id"]
    rows = fetch_all(select(*columns).where(Session.user_id == user_id).order_by(Session.id))
    return [{k: format_timestamp(v) if isinstance(v, datetime) else v for k, v in r._mapping.items()} for r in rows]


def prune(limit: int = 1000) -> int:
    """Delete up to `limit` sessions that ended or expired a week ago or earlier; returns how many."""
    before = utc_now() - PRUNED_AFTER
    ended = or_(Session.revoked_at < before, Session.expires_at < before, Session.idle_expires_at < before)
    some = delete(Session).where(Session.id.in_(select(Session.id).where(ended).limit(limit)))
    result = db.session.execute(some, execution_options={"synchronize_session": False})
    return int(result.rowcount)  # type: ignore[attr-defined]


def _settings() -> Settings:
    return components().settings
