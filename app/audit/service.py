"""Writes events in the transaction of what they tell, and reads them. Never commits, never changes an event.

So what is refused or rolled back leaves no event; a refusal that is to leave one must be an outcome, not an exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

from flask import g, has_request_context
from sqlalchemy import Row, Select, bindparam, delete, insert, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from app.api.access import Caller
from app.api.client_info import client_address, client_user_agent
from app.api.fields import format_timestamp
from app.api.pagination import Page, paginate
from app.audit.models import AuthEvent
from app.clock import utc_now
from app.components import components
from app.database import db, fetch_all, write
from app.database.executor import precompiled

EXPORT_BATCH = 100
# At most 16 bytes.
_PURPOSE = b"audit email"
FAILURES = frozenset({"login_failed", "password_change_failed"})
OWN_COLUMNS = (
    AuthEvent.id,
    AuthEvent.event,
    AuthEvent.created_at,
    AuthEvent.actor,
    AuthEvent.session_id,
    AuthEvent.detail,
    AuthEvent.ip,
    AuthEvent.user_agent,
    AuthEvent.request_id,
)
COLUMNS = (*OWN_COLUMNS, AuthEvent.user_id, AuthEvent.actor_id, AuthEvent.email_hash)
Columns = tuple[InstrumentedAttribute[Any], ...]
# Without the id, which the database gives.
_NEW_EVENT = precompiled(
    insert(AuthEvent)
    .values({column: bindparam(f"new_{column.key}") for column in AuthEvent.__table__.columns if column.key != "id"})
    # Nobody asks for its id.
    .inline()
)
# What a list may be narrowed by, and what an event must then be; each value is the parameter of that name.
FILTERS = {
    "event": AuthEvent.event == bindparam("event"),
    "user_id": AuthEvent.user_id == bindparam("user_id"),
    "actor_id": AuthEvent.actor_id == bindparam("actor_id"),
    "created_after": AuthEvent.created_at > bindparam("created_after"),
    "created_before": AuthEvent.created_at < bindparam("created_before"),
}


@dataclass(frozen=True, slots=True)
class OwnEvent:
    """An event as the user it is about may see it."""

    id: int
    event: str
    created_at: datetime
    actor: str
    session_id: int | None
    detail: str | None
    ip: str | None
    user_agent: str | None
    request_id: str | None


def record(
    event: str,
    user_id: int | None,
    *,
    session_id: int | None = None,
    detail: str | None = None,
    actor_id: int | None = None,
    tried_email_key: str | None = None,
) -> None:
    """Write down that `event` happened to a user, in one INSERT.

    The caller of the request is who did it; `actor_id` says so where a request has none yet, as a login. The session
    is the caller's if none is given. `tried_email_key` is kept as a hash, and only without `user_id`.
    """
    caller: Caller | None = g.get("caller")
    if session_id is None and caller is not None:
        session_id = caller.session_id
    record_each(
        event,
        user_id,
        [session_id],
        detail=detail,
        actor_id=actor_id,
        email_hash=_hash_unknown(user_id, tried_email_key),
    )


def record_each(
    event: str,
    user_id: int | None,
    session_ids: Sequence[int | None],
    *,
    detail: str | None = None,
    actor_id: int | None = None,
    email_hash: str | None = None,
) -> None:
    """Write down that `event` happened to several sessions of a user, still in one INSERT."""
    actor, actor_id = _find_actor(user_id, actor_id)
    common = {
        "created_at": utc_now(),
        "event": event,
        "user_id": user_id,
        "email_hash": email_hash,
        "actor": actor,
        "actor_id": actor_id,
        "detail": detail,
        **_origin(),
    }
    if len(session_ids) == 1:
        write(_NEW_EVENT, **{f"new_{name}": value for name, value in common.items()}, new_session_id=session_ids[0])
    elif session_ids:
        write(insert(AuthEvent).values([{**common, "session_id": session_id} for session_id in session_ids]))


def _find_actor(user_id: int | None, actor_id: int | None) -> tuple[str, int | None]:
    caller: Caller | None = g.get("caller")
    if actor_id is None and caller is not None:
        actor_id = caller.id
    if actor_id is None:
        return ("anonymous" if has_request_context() else "operator"), None
    return ("self" if actor_id == user_id else "administrator"), actor_id


def _origin() -> dict[str, str | None]:
    if not has_request_context():
        return {"ip": None, "user_agent": None, "request_id": None}
    return {"ip": client_address(), "user_agent": client_user_agent(), "request_id": g.get("request_id")}


def _hash_unknown(user_id: int | None, email_key: str | None) -> str | None:
    """A keyed hash of an address that no account has: it may be a stranger's, or a secret typed into the wrong field.

    Hashed where there is an account too, so that no refusal takes another path.
    """
    if email_key is None:
        return None
    signer = components().keyed_hasher
    hashed = signer.sign(_PURPOSE, email_key.encode("utf-8", "surrogatepass")).hex()
    return hashed if user_id is None else None


def list_events(query: Mapping[str, Any]) -> Page:
    """Return a page of everyone's events."""
    return _page(COLUMNS, query, {})


def list_own_events(caller: Caller, query: Mapping[str, Any]) -> Page:
    """Return a page of the events about the caller."""
    page = _page(OWN_COLUMNS, query, {"user_id": caller.id})
    return replace(page, items=[_as_shown_to_user(row) for row in page.items])


def _page(columns: Columns, query: Mapping[str, Any], filters: Mapping[str, Any]) -> Page:
    filters = {**{name: query[name] for name in FILTERS if name in query}, **filters}
    statement = _filtered_by(columns, frozenset(filters))
    return paginate(statement, query, keys={"created_at": AuthEvent.created_at}, id_column=AuthEvent.id, **filters)


@cache
def _filtered_by(columns: Columns, names: frozenset[str]) -> Select[*tuple[Any, ...]]:
    """Return the events that the filters of these names let through, one statement for each set of names."""
    return select(*columns).where(*(FILTERS[name] for name in sorted(names)))


def _as_shown_to_user(row: Row[Any]) -> OwnEvent:
    """Leave out why an attempt failed, and where an administrator sat who did this: that is not the user's to know."""
    shown = OwnEvent(**row._mapping)
    if shown.event in FAILURES:
        shown = replace(shown, detail=None)
    if shown.actor != "administrator":
        return shown
    session_id = shown.session_id if shown.event == "session_revoked" else None
    return replace(shown, session_id=session_id, ip=None, user_agent=None, request_id=None)


def export(user_id: int) -> Iterator[dict[str, Any]]:
    """Give everything that happened to a user, as they may see it, in batches so that no single statement runs long."""
    place = (AuthEvent.created_at, AuthEvent.id)
    statement = select(*OWN_COLUMNS).where(AuthEvent.user_id == user_id).order_by(*place).limit(EXPORT_BATCH)
    rows = fetch_all(statement)
    while rows:
        for row in rows:
            shown = _as_shown_to_user(row)
            yield {name: getattr(shown, name) for name in OwnEvent.__slots__} | {
                "created_at": format_timestamp(shown.created_at)
            }
        rows = fetch_all(statement.where(tuple_(*place) > (rows[-1].created_at, rows[-1].id)))


def prune(before: datetime, limit: int) -> int:
    """Delete up to `limit` events from before a moment, the oldest first; returns how many."""
    old = select(AuthEvent.id).where(AuthEvent.created_at < before).order_by(AuthEvent.created_at, AuthEvent.id)
    some = delete(AuthEvent).where(AuthEvent.id.in_(old.limit(limit)))
    result = db.session.execute(some, execution_options={"synchronize_session": False})
    return int(result.rowcount)  # type: ignore[attr-defined]
