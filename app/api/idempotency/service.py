"""Idempotency-Key: the first answer of a request is kept with its effect, and given again to whoever retries.

Owns the table of kept answers. Key and effect commit together, so a crash leaves both or neither.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from flask import request
from sqlalchemy import (
    delete,
    func,
    select,
)
from sqlalchemy.exc import IntegrityError

from app.api.access import Caller
from app.api.errors import IdempotencyInProgress, IdempotencyKeyReused, TokenRevoked, ValidationFailed
from app.api.fields import format_timestamp
from app.api.idempotency.models import KeptAnswer
from app.clock import utc_now
from app.components import components
from app.database import db, fetch_all, violates
from app.security.keyed_hashes import KeyedHasher

KEPT_FOR = timedelta(hours=24)
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")
_PURPOSE = b"idempotency"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run a request under its key."""

    user_id: int
    key: str
    request_bytes: bytes


def requested_key() -> str | None:
    """Return the Idempotency-Key of this request, or None; raises ValidationFailed for one out of form."""
    key: str | None = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not _VISIBLE_ASCII.fullmatch(key):
        raise ValidationFailed({"Idempotency-Key": ["Must be 1 to 255 visible ASCII characters."]})
    return key


def claim(caller: Caller, key: str, body: Mapping[str, Any]) -> Claim | KeptAnswer:
    """Begin the transaction of a request with a key: return the kept answer, or the claim to make one.

    Raises IdempotencyInProgress while another transaction holds the key (on PostgreSQL; on SQLite, where writers
    take turns, the second waits and gets the kept answer), IdempotencyKeyReused when the request is another one.
    """
    wanted = Claim(caller.id, key, _request_bytes(body))
    _lock(wanted)
    kept = db.session.scalar(select(KeptAnswer).filter_by(user_id=caller.id, key=key))
    if kept is None:
        return wanted
    if kept.created_at <= utc_now() - KEPT_FOR:
        db.session.execute(delete(KeptAnswer).filter_by(id=kept.id))
        return wanted
    if not _signer().verify(_PURPOSE, wanted.request_bytes, kept.fingerprint):
        raise IdempotencyKeyReused
    return kept


def keep(claimed: Claim, *, status: int, location: str, etag: str, body: bytes) -> None:
    """Keep the answer in the transaction of its effect. Raises TokenRevoked if the caller is deleted meanwhile."""
    answer = KeptAnswer(
        user_id=claimed.user_id,
        key=claimed.key,
        # Keyed: the body may hold a password, and a plain hash of it could be guessed at.
        fingerprint=_signer().sign(_PURPOSE, claimed.request_bytes),
        status=status,
        location=location,
        etag=etag,
        body=body,
        created_at=utc_now(),
    )
    db.session.add(answer)
    try:
        db.session.flush()
    except IntegrityError as error:
        if violates(error, "fk_idempotency_keys_user_id_users"):
            raise TokenRevoked from error
        if violates(error, "uq_idempotency_keys_user_id_key"):
            raise IdempotencyInProgress from error
        raise
    _prune_of(claimed.user_id)


def _prune_of(user_id: int) -> None:
    """Forget a user's answers that are too old to be given again, with what they show of resources since deleted."""
    old = delete(KeptAnswer).where(KeptAnswer.user_id == user_id, KeptAnswer.created_at <= utc_now() - KEPT_FOR)
    db.session.execute(old, execution_options={"synchronize_session": False})


def export(user_id: int) -> list[dict[str, Any]]:
    """Return what is stored about a user's retried requests; the answers are those of posts, which are exported too."""
    columns = (KeptAnswer.id, KeptAnswer.key, KeptAnswer.status, KeptAnswer.location, KeptAnswer.created_at)
    rows = fetch_all(select(*columns).where(KeptAnswer.user_id == user_id).order_by(KeptAnswer.id))
    return [{**row._mapping, "created_at": format_timestamp(row.created_at)} for row in rows]


def prune(limit: int = 1000) -> int:
    """Delete up to `limit` answers that are too old to be given again; returns how many."""
    old = select(KeptAnswer.id).where(KeptAnswer.created_at <= utc_now() - KEPT_FOR).limit(limit)
    some = delete(KeptAnswer).where(KeptAnswer.id.in_(old))
    result = db.session.execute(some, execution_options={"synchronize_session": False})
    return int(result.rowcount)  # type: ignore[attr-defined]


def _lock(wanted: Claim) -> None:
    """Hold the key until the transaction ends, without waiting for it."""
    if db.engine.dialect.name == "sqlite":
        return  # BEGIN IMMEDIATE lets one writer in at a time
    # Without the service's secret: while that is changed, old and new replicas must meet at one lock.
    name = hashlib.blake2b(f"{wanted.user_id} {wanted.key}".encode(), digest_size=8, person=b"idempotency").digest()
    number = int.from_bytes(name, "big", signed=True)
    if not db.session.scalar(select(func.pg_try_advisory_xact_lock(number))):
        raise IdempotencyInProgress


def _request_bytes(body: Mapping[str, Any]) -> bytes:
    # The parsed body, so that a client that orders its members anew still repeats itself.
    return orjson.dumps([request.method, request.path, body], option=orjson.OPT_SORT_KEYS)


def _signer() -> KeyedHasher:
    return components().keyed_hasher
