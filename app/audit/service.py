"""Records events in the transaction of the change that they describe, which the caller commits, and reads them.

A request that is refused or fails rolls back its events too. Therefore a view returns a refusal that must be recorded,
and does not raise it (docs/decisions/0001-transactions.md).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from flask import g, has_request_context
from sqlalchemy import ColumnElement, and_, bindparam, case, insert, not_, or_, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from app.api.access import Caller
from app.api.client_info import client_address, client_user_agent
from app.api.pagination import Filter, Filters, Page, paginate, time_filters
from app.audit.models import EVENTS, AuthEvent
from app.audit.schemas import OWN_EVENT
from app.components import components, utc_now
from app.database import delete_rows, fetch_all, precompiled, write

EXPORT_BATCH = 100
# At most 16 bytes, the limit of BLAKE2's person parameter.
_PURPOSE = b"audit email"
# `inline`: does not ask the database for the id of the new row.
_NEW_EVENT = precompiled(insert(AuthEvent).inline())
# Rows are found by the first of the filters that are given: those that match fewer rows come first.
FILTERS: Filters = {
    "user_id": Filter(AuthEvent.user_id == bindparam("user_id"), alone=True),
    "actor_id": Filter(AuthEvent.actor_id == bindparam("actor_id"), alone=True),
    "event": Filter(AuthEvent.event == bindparam("event"), alone=True),
    **time_filters("created_at", AuthEvent.created_at),
}


def _null_if(condition: ColumnElement[bool], column: InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    return case((not_(condition), column)).label(column.key)


_BY_ADMINISTRATOR = AuthEvent.actor == "administrator"
_FAILED = or_(*(AuthEvent.event == event for event in EVENTS if event.endswith("_failed")))
_EVENTS = select(*AuthEvent.__table__.columns)
# An event as the user it is about may see it: without the reason of a failed attempt, and without the session, address
# and browser of an administrator who acted on the account.
_OWN_EVENTS = select(
    AuthEvent.id,
    AuthEvent.event,
    AuthEvent.created_at,
    AuthEvent.actor,
    # For a session that an administrator ended, the id is of that session and not of the administrator's.
    _null_if(and_(_BY_ADMINISTRATOR, AuthEvent.event != "session_revoked"), AuthEvent.session_id),
    _null_if(_FAILED, AuthEvent.detail),
    *(_null_if(_BY_ADMINISTRATOR, column) for column in (AuthEvent.ip, AuthEvent.user_agent, AuthEvent.request_id)),
)
_paginate_events = partial(paginate, keys={"created_at": AuthEvent.created_at}, id_column=AuthEvent.id, filters=FILTERS)


def record(
    event: str,
    user_id: int | None,
    *,
    session_id: int | None = None,
    detail: str | None = None,
    actor_id: int | None = None,
    tried_email_key: str | None = None,
) -> None:
    """Insert an event about a user.

    `actor_id` and `session_id` are by default those of the caller of the request; a login has no caller yet, and passes
    `actor_id`. A hash of `tried_email_key`, the address of a failed login, is stored if `user_id` is None.
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
    """Insert one event for each of several sessions of a user, in one statement."""
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
        write(_NEW_EVENT, session_id=session_ids[0], **common)
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
    """Return a keyed hash of an address that no account has; None if there is an account.

    The address itself may be another person's, or a password typed into the wrong field. It is hashed in both cases, so
    that the duration of a failed login does not depend on whether the account exists.
    """
    if email_key is None:
        return None
    hasher = components().keyed_hasher
    hashed = hasher.sign(_PURPOSE, email_key.encode("utf-8", "surrogatepass")).hex()
    return hashed if user_id is None else None


def list_events(query: Mapping[str, Any]) -> Page:
    """Return a page of the events of all users."""
    return _paginate_events(_EVENTS, query)


def list_own_events(caller: Caller, query: Mapping[str, Any]) -> Page:
    """Return a page of the events about the caller."""
    return _paginate_events(_OWN_EVENTS, query, user_id=caller.id)


def export(user_id: int) -> Iterator[dict[str, Any]]:
    """Yield the events about a user for the export, as the user sees them.

    They are read in batches, so that each statement is short.
    """
    key = (AuthEvent.created_at, AuthEvent.id)
    statement = _OWN_EVENTS.where(AuthEvent.user_id == user_id).order_by(*key).limit(EXPORT_BATCH)
    rows = fetch_all(statement)
    while rows:
        for row in rows:
            yield OWN_EVENT.dump(row)
        rows = fetch_all(statement.where(tuple_(*key) > (rows[-1].created_at, rows[-1].id)))


def prune(before: datetime, limit: int) -> int:
    """Delete up to `limit` events that are older than `before`, the oldest first; return their number."""
    is_old = AuthEvent.created_at < before
    return delete_rows(AuthEvent.__table__, is_old, limit, AuthEvent.created_at, AuthEvent.id)
