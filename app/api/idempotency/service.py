"""Idempotency-Key: stores the response of a request with its key, and returns it again when the request is repeated.

Key and response commit in the transaction of the request's own writes, so a crash leaves all of them or none.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import repeat
from typing import Any

import orjson
from flask import Response, request
from marshmallow import Schema, fields
from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError

from app.api.access import Caller
from app.api.errors import IdempotencyInProgress, IdempotencyKeyReused, TokenRevoked, ValidationFailed
from app.api.idempotency.models import KeptAnswer
from app.components import components, utc_now
from app.database import db, delete_rows, fetch_all, violates, write

KEPT_FOR = timedelta(hours=24)
_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]{1,255}")
_PURPOSE = b"idempotency"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A key that belongs to the current request until its transaction ends."""

    user_id: int
    key: str
    request_bytes: bytes


def requested_key() -> str | None:
    """Return the Idempotency-Key of the current request, or None. Raises ValidationFailed for an invalid one."""
    key: str | None = request.environ.get("HTTP_IDEMPOTENCY_KEY")
    if key is not None and not _VISIBLE_ASCII.fullmatch(key):
        raise ValidationFailed({"Idempotency-Key": ["Must be 1 to 255 visible ASCII characters."]})
    return key


def reserve(caller: Caller, key: str, schema: Schema | None, body: Mapping[str, Any]) -> Reservation | KeptAnswer:
    """Return the stored response of a key, or reserve the key for the current transaction if there is none.

    `body` was loaded by `schema`. The values of its load-only fields, such as passwords, are not compared.

    Raises IdempotencyKeyReused if the stored response is that of a different request, and IdempotencyInProgress while
    another transaction has reserved the key (on PostgreSQL; on SQLite, which has one writer at a time, the second
    request waits and gets the stored response).
    """
    reservation = Reservation(caller.id, key, _request_bytes(schema, body))
    _lock(reservation)
    kept = db.session.scalar(select(KeptAnswer).filter_by(user_id=caller.id, key=key))
    if kept is None:
        return reservation
    if kept.created_at <= utc_now() - KEPT_FOR:
        db.session.execute(delete(KeptAnswer).filter_by(id=kept.id))
        return reservation
    if not components().keyed_hasher.verify(_PURPOSE, reservation.request_bytes, kept.fingerprint):
        raise IdempotencyKeyReused
    return kept


def keep(reservation: Reservation, response: Response) -> None:
    """Store the response under the reserved key, and delete the user's expired ones.

    Raises TokenRevoked if the caller has been deleted in the meantime, IdempotencyInProgress if another transaction has
    stored a response under the key.
    """
    answer = KeptAnswer(
        user_id=reservation.user_id,
        key=reservation.key,
        # With a secret key, so that guesses of a private text can't be checked against the hash alone.
        fingerprint=components().keyed_hasher.sign(_PURPOSE, reservation.request_bytes),
        status=response.status_code,
        location=response.headers.get("Location", ""),
        etag=response.headers.get("ETag", ""),
        body=response.get_data(),
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
    is_expired = KeptAnswer.created_at <= utc_now() - KEPT_FOR
    write(delete(KeptAnswer).where(KeptAnswer.user_id == reservation.user_id, is_expired))


def export(user_id: int) -> list[dict[str, Any]]:
    """Return a user's keys for the export of their data. The stored responses show posts, which are exported too."""
    columns = (KeptAnswer.id, KeptAnswer.key, KeptAnswer.status, KeptAnswer.location, KeptAnswer.created_at)
    statement = select(*columns).where(KeptAnswer.user_id == user_id).order_by(KeptAnswer.id)
    return [row._asdict() for row in fetch_all(statement)]


def prune(limit: int) -> int:
    """Delete up to `limit` expired responses of all users; return how many were deleted."""
    return delete_rows(KeptAnswer.__table__, KeptAnswer.created_at <= utc_now() - KEPT_FOR, limit)


def _lock(reservation: Reservation) -> None:
    """Lock the key until the transaction ends. Raises IdempotencyInProgress instead of waiting for the lock."""
    if db.engine.dialect.name == "sqlite":
        return  # BEGIN IMMEDIATE allows one writer at a time
    # Hashed without the secret key: while it is rotated, replicas with the old and the new one must use the same lock.
    name = f"{reservation.user_id} {reservation.key}".encode()
    number = int.from_bytes(hashlib.blake2b(name, digest_size=8, person=b"idempotency").digest(), "big", signed=True)
    if not db.session.scalar(select(func.pg_try_advisory_xact_lock(number))):
        raise IdempotencyInProgress


def _request_bytes(schema: Schema | None, body: Mapping[str, Any]) -> bytes:
    # The parsed body with sorted members, so that the order in which a client sends them does not matter.
    compared = body if schema is None else without_secrets(fields.Nested(schema), body)
    # A field may load other types than those of JSON, such as Decimal.
    return orjson.dumps([request.method, request.path, compared], default=str, option=orjson.OPT_SORT_KEYS)


def without_secrets(field: fields.Field[Any], value: Any) -> Any:
    """Return a value that `field` has loaded, with None in place of the values of load-only fields at any depth.

    A fingerprint is a fast hash. With it and the service's secret, an attacker could check millions of guesses of a
    password each second.
    """
    if field.load_only:
        return None
    if isinstance(value, list | tuple):
        inner = field.inner if isinstance(field, fields.List) else field
        each = field.tuple_fields if isinstance(field, fields.Tuple) else repeat(inner)
        return [without_secrets(one, item) for one, item in zip(each, value)]  # noqa: B905  # repeat() has no end
    if not isinstance(value, Mapping):
        return value
    if isinstance(field, fields.Mapping) and field.value_field is not None:
        return {name: without_secrets(field.value_field, item) for name, item in value.items()}
    if not isinstance(field, fields.Nested):
        return value
    members: dict[str, fields.Field[Any]] = {}
    for name, one in field.schema.fields.items():
        # Marshmallow loads the attribute "a.b" into the member "a", which is left out if any part of it is secret.
        member = (one.attribute or name).partition(".")[0]
        if one.load_only or member not in members:
            members[member] = one
    return {name: without_secrets(members[name], item) if name in members else item for name, item in value.items()}
