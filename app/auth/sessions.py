"""Sessions: one row for each login, rotation of refresh tokens, and revocation.

`rotate` first runs a single autocommitted UPDATE. Refusals whose side effects must be committed, such as the revocation
after a replay, are returned and not raised, because raising rolls back. The reasons are in
docs/decisions/0013-sessions.md.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    and_,
    bindparam,
    case,
    func,
    insert,
    or_,
    select,
    update,
)

from app.api.access import Caller
from app.api.errors import Problem, RateLimited, TokenRevoked
from app.api.pagination import Page, paginate
from app.audit.service import record_each
from app.auth.models import GRACE_TIMES, NONCE_LENGTH, TIME_DIGITS, Session
from app.auth.tokens import Claims, TokenSession, read_token
from app.components import components, utc_now
from app.database import delete_rows, fetch_all, fetch_one, write, write_one, write_or_skip
from app.database.executor import precompiled
from app.observability import metrics
from app.users.models import VISIBLE_COLUMNS, User

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
GRACE_USES = 20
# After the last of these uses. Short, because the token may be dead when its grace period has ended.
GRACE_RETRY_SECONDS = 1
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
_INSERT = precompiled(insert(Session).returning(Session.id))
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
# The condition that a row is the session of a token; `_key` gives the parameters.
_IS_TOKENS = and_(
    Session.id == bindparam("session"), Session.user_id == bindparam("owner"), Session.nonce == bindparam("token_nonce")
)
# Disabling an account revokes its sessions, but an operator may have set is_active by SQL alone.
_IS_ACTIVE = select(User.id).where(User.id == bindparam("owner"), User.is_active).exists()
_NOW_AS_TEXT: BindParameter[str] = bindparam("at_text", type_=Session.grace_times.type)
# No grace period is open when this rotation begins one.
_IS_FIRST = or_(Session.generation == 1, Session.rotated_at <= bindparam("grace_start", type_=Session.rotated_at.type))
_ROTATE = precompiled(
    update(Session)
    .where(_IS_TOKENS, _IS_ACTIVE, Session.generation == bindparam("shown"), is_live(_AT))
    .values(
        generation=Session.generation + 1,
        confirmed_generation=Session.generation,
        rotated_at=_AT,
        last_used_at=_AT,
        grace_uses=0,
        grace_floor=case((_IS_FIRST, Session.generation), else_=Session.grace_floor),
        grace_floor_at=case((_IS_FIRST, _AT), else_=Session.grace_floor_at),
        grace_times=case(
            (_IS_FIRST, _NOW_AS_TEXT),
            else_=func.substr(_NOW_AS_TEXT.concat(Session.grace_times), 1, GRACE_TIMES * TIME_DIGITS),
        ),
        idle_expires_at=case((Session.expires_at < _IDLE, Session.expires_at), else_=_IDLE),
    )
    .returning(Session.generation, Session.idle_expires_at)
)
_LOCK = precompiled(
    select(
        Session.generation,
        Session.confirmed_generation,
        Session.rotated_at,
        Session.grace_floor,
        Session.grace_floor_at,
        Session.grace_times,
        Session.grace_uses,
        Session.idle_expires_at,
        is_live(_AT).label("is_live"),
        _IS_ACTIVE.label("is_active"),
    )
    .where(_IS_TOKENS)
    .with_for_update()
)
_COUNT_GRACE_USE = precompiled(update(Session).where(_IS_TOKENS).values(grace_uses=Session.grace_uses + 1))
_CAN_CONFIRM = and_(Session.confirmed_generation < bindparam("shown"), Session.generation >= bindparam("shown"))
_CONFIRM = precompiled(update(Session).where(_IS_TOKENS, _CAN_CONFIRM).values(confirmed_generation=bindparam("shown")))
# Every authenticated request runs this one query: session and user by their primary keys.
_SELECT_CALLER = precompiled(
    select(*VISIBLE_COLUMNS, _CAN_CONFIRM.label("can_confirm"))
    .join(Session, Session.user_id == User.id)
    .where(_IS_TOKENS, User.id == bindparam("owner"), User.is_active)
    .where(is_live(_AT))
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
class Grant(TokenSession):
    """The session to issue tokens for, with its current generation and the time when it expires if it is idle."""

    idle_expires_at: datetime
    is_fresh: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """The response to a refresh token that is not exchanged, and whether its session is known to be over."""

    problem: Problem
    is_over: bool = False


class Reuse(Enum):
    """What it means that a refresh token is shown whose generation is not the session's."""

    GRACE = auto()  # It was replaced a moment ago: another tab, or a retry.
    LIMITED = auto()  # Likewise, but this has happened too often.
    UNCONFIRMED = auto()  # Its successor was never used: the response with that may have been lost.
    REPLAY = auto()  # Two parties have copies.
    UNKNOWN = auto()  # The row does not say which of these.


def authenticate(token: str) -> Caller:
    """Return the caller that an access token identifies.

    Raises TokenExpired, TokenInvalid, or TokenRevoked if the session has ended or the user is disabled or deleted.
    """
    return find_caller(read_token(token, "access"))


def find_caller(claims: Claims) -> Caller:
    """Return the user of a live session, and confirm the generation of the token if it is the first one shown.

    Confirming ends the generation before. If the database is read-only or locked, the next request confirms. Raises
    TokenRevoked.
    """
    row = fetch_one(_SELECT_CALLER, **_key(claims), shown=claims.generation, at=utc_now())
    if row is None:
        raise TokenRevoked
    user = dict(row._mapping)
    if user.pop("can_confirm"):
        write_or_skip(_CONFIRM, **_key(claims), shown=claims.generation)
    return Caller(**user, session_id=claims.session_id, is_fresh=claims.is_fresh)


def _key(claims: Claims) -> dict[str, Any]:
    """Return the parameters of the condition that a row is the session of a token."""
    return {"session": claims.session_id, "owner": claims.user_id, "token_nonce": claims.nonce}


def open_session(user_id: int, client: Client) -> Grant:
    """Insert a session and revoke those beyond MAX_SESSIONS_PER_USER, the longest idle first.

    The row of the user must be locked or new, so that concurrent logins can't exceed the maximum.
    """
    now, settings = utc_now(), components().settings
    expires_at = now + timedelta(days=settings.refresh_absolute_days)
    idle_expires_at = min(now + timedelta(days=settings.refresh_idle_days), expires_at)
    if ended := write(_REVOKE_SURPLUS, owner=user_id, at=now, kept=settings.max_sessions_per_user - 1):
        _record_end([row.id for row in ended], user_id, "too_many_sessions")
    nonce = secrets.token_urlsafe(NONCE_LENGTH * 3 // 4)
    new = write(
        _INSERT,
        user_id=user_id,
        nonce=nonce,
        generation=1,
        # The first generation has no predecessor that its confirmation could end.
        confirmed_generation=1,
        created_at=now,
        rotated_at=now,
        last_used_at=now,
        expires_at=expires_at,
        idle_expires_at=idle_expires_at,
        user_agent=client.user_agent,
        ip=client.ip,
    )
    return Grant(user_id, new[0].id, nonce, 1, idle_expires_at, is_fresh=True)


def rotate(claims: Claims) -> Grant | Refusal:
    """Exchange a refresh token: advance its session to the next generation by compare-and-swap.

    A refusal is returned and not raised, because a replay has then revoked the session.
    """
    now, settings = utc_now(), components().settings
    row = write_one(
        _ROTATE,
        **_key(claims),
        shown=claims.generation,
        at=now,
        at_text=_as_text(now),
        grace_start=_grace_start(now),
        idle=now + timedelta(days=settings.refresh_idle_days),
    )
    if row is not None:
        metrics.REFRESHES.labels("rotated").inc()
        return _grant(claims, row)
    # What the rest writes depends on the row, which it locks.
    session = _lock(claims, now)
    if isinstance(session, Refusal):
        metrics.REFRESHES.labels("revoked").inc()
        return session
    reuse = _classify(session, claims.generation, now)
    metrics.REFRESHES.labels(reuse.name.lower()).inc()
    if reuse is Reuse.GRACE:
        write(_COUNT_GRACE_USE, **_key(claims))
    return _refuse(reuse, claims) or _grant(claims, session)


def validate_generation(claims: Claims) -> Problem | None:
    """Check a refresh token as `rotate` does, without rotating and without counting a use of the grace period.

    Returns None for a token that `rotate` would exchange, otherwise the problem. A replay has then revoked the session.
    """
    now = utc_now()
    session = _lock(claims, now)
    if isinstance(session, Refusal):
        return session.problem
    if session.generation == claims.generation:
        return None
    refusal = _refuse(_classify(session, claims.generation, now), claims)
    return refusal.problem if refusal else None


def _lock(claims: Claims, now: datetime) -> Any:
    """Lock and return the row of a token's session, or a refusal if the session or its account is not usable."""
    found = write(_LOCK, **_key(claims), at=now)
    # Revocation is checked before everything else.
    if not found or not found[0].is_live:
        return Refusal(TokenRevoked(), is_over=bool(found))
    return found[0] if found[0].is_active else Refusal(TokenRevoked())


def _classify(session: Any, shown: int, now: datetime) -> Reuse:
    """Decide what it means that a token of the generation `shown` is used again; `session` is the locked row."""
    if shown >= session.generation:
        # Later: the database has lost a rotation. Equal: the account was enabled after the rotation had failed.
        return Reuse.UNKNOWN
    replaced_at = _replaced_at(session, shown)
    start, latest = _grace_start(now), now + CLOCK_LEEWAY
    # No token was replaced after the last rotation.
    if replaced_at is not None and start < replaced_at <= latest and start < session.rotated_at:
        return Reuse.GRACE if session.grace_uses < GRACE_USES else Reuse.LIMITED
    if shown + 1 == session.generation and session.confirmed_generation < session.generation:
        return Reuse.UNCONFIRMED
    # The clock was set back. A grace period must not reopen, but this may also be another tab of an honest client.
    return Reuse.UNKNOWN if replaced_at is not None and replaced_at > latest else Reuse.REPLAY


def _refuse(reuse: Reuse, claims: Claims) -> Refusal | None:
    """Return the refusal of a token that is used again, after revoking the session of a replay; None for a grant."""
    if reuse is Reuse.REPLAY:
        _revoke(_is_session_of(claims), "replay")
        text = "This refresh token was used before: its session has been ended for safety."
        return Refusal(TokenRevoked(text), is_over=True)
    if reuse is Reuse.LIMITED:
        return Refusal(RateLimited(GRACE_USES, 0, GRACE_RETRY_SECONDS))
    return Refusal(TokenRevoked()) if reuse is Reuse.UNKNOWN else None


def _replaced_at(session: Any, generation: int) -> datetime | None:
    """Return when a generation was replaced: not before the result, or None if it was before the grace period."""
    if generation < session.grace_floor:
        return None
    start = (session.generation - 1 - generation) * TIME_DIGITS
    text = session.grace_times[start : start + TIME_DIGITS]
    # After more rotations than the row dates, all but the newest are as old as the first one.
    floor_at: datetime | None = session.grace_floor_at
    return EPOCH + timedelta(microseconds=int(text)) if text else floor_at


def _as_text(time: datetime) -> str:
    return f"{(time - EPOCH) // timedelta(microseconds=1):0{TIME_DIGITS}}"


def _is_session_of(claims: Claims) -> ColumnElement[bool]:
    return and_(Session.id == claims.session_id, Session.user_id == claims.user_id, Session.nonce == claims.nonce)


def _grace_start(now: datetime) -> datetime:
    return now - timedelta(seconds=components().settings.refresh_grace_seconds)


def _grant(claims: Claims, row: Any) -> Grant:
    key = (claims.user_id, claims.session_id, claims.nonce)
    return Grant(*key, row.generation, row.idle_expires_at, is_fresh=False)


def end_session(user_id: int, session_id: int, reason: str, *, nonce: str | None = None) -> bool:
    """End one session of a user, with `nonce` only if it is the session's; returns whether it was live."""
    condition = and_(Session.id == session_id, Session.user_id == user_id, is_live(utc_now()))
    return _revoke(condition if nonce is None else and_(condition, Session.nonce == nonce), reason) > 0


def end_sessions(user_id: int, reason: str, *, except_id: int | None = None) -> int:
    """End every live session of a user except the one with the id `except_id`; returns how many were ended."""
    condition = and_(Session.user_id == user_id, is_live(utc_now()))
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
    ended = write(statement.returning(Session.id, Session.user_id))
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
    columns = [c for c in Session.__table__.columns if c.name not in ("user_id", "nonce")]
    statement = select(*columns).where(Session.user_id == user_id).order_by(Session.id)
    return [row._asdict() for row in fetch_all(statement)]


def prune(limit: int) -> int:
    """Delete up to `limit` sessions that ended or expired at least a week ago; returns how many."""
    before = utc_now() - PRUNED_AFTER
    ended = or_(Session.revoked_at < before, Session.expires_at < before, Session.idle_expires_at < before)
    return delete_rows(Session.__table__, ended, limit)
