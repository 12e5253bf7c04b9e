"""The HTTP routes of users."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

import orjson
from flask import Response, stream_with_context, url_for

from app.api.access import ADMIN, FRESH, OPTIONAL, SIGNED_IN, Caller
from app.api.conditional import require_unchanged
from app.api.errors import EmailTaken, Forbidden, FreshTokenRequired, LastAdmin, NotFound, PreconditionFailed
from app.api.fields import format_timestamp
from app.api.pagination import Page
from app.api.request_body import JSON
from app.api.responses import Created, Shaped, created, listing, no_content, ok, written
from app.api.routing import Api
from app.api.serialization import dump_bytes
from app.components import components
from app.database import in_batches, transaction
from app.security.passwords import hash_password
from app.users import deletion, service
from app.users.schemas import (
    DELETION,
    PRIVATE_USER,
    PUBLIC_USER,
    USER_EXPORT,
    NewUser,
    Profile,
    ProfileChanges,
    UserListQuery,
)

users = Api("users", __name__)
CHANGES = (Forbidden, NotFound, PreconditionFailed, LastAdmin)


def _with_hash(body: Mapping[str, Any]) -> dict[str, Any]:
    """Replace the password by its hash. Runs before the transaction, so that hashing holds no lock or connection."""
    password_hash = hash_password(body["password"])
    return {name: value for name, value in body.items() if name != "password"} | {"password_hash": password_hash}


@users.operation(
    "GET",
    "/users",
    access=SIGNED_IN,
    query=UserListQuery(),
    answer=listing(PUBLIC_USER, PRIVATE_USER),
)
def list_users(caller: Caller, query: Mapping[str, Any]) -> Page:
    """List users. An administrator also sees private members."""
    page = service.list_users(caller, query)
    schema = PRIVATE_USER if caller.is_admin else PUBLIC_USER
    return replace(page, items=[Shaped(row, schema) for row in page.items])


@users.operation(
    "POST",
    "/users",
    access=ADMIN,
    body=NewUser(),
    answer=created(PRIVATE_USER),
    problems=(EmailTaken,),
    idempotent=True,
    prepare=_with_hash,
)
def create_user(caller: Caller, body: Mapping[str, Any]) -> Created:
    """Create an account for another person."""
    service.require_admin_still(caller)
    user = service.create_user_for(**body)
    return Created(user, url_for("users.get_user", user_id=user.id))


@users.operation(
    "GET",
    "/users/<id:user_id>",
    access=OPTIONAL,
    answer=ok(PUBLIC_USER, PRIVATE_USER),
    problems=(NotFound,),
)
def get_user(caller: Caller | None, user_id: int) -> Shaped:
    """Read a user. The user and administrators also see private members."""
    return _shaped(caller, service.get_user(user_id))


@users.operation(
    "PUT",
    "/users/<id:user_id>",
    access=SIGNED_IN,
    body=Profile(),
    answer=ok(PRIVATE_USER),
    problems=CHANGES,
)
def replace_user(caller: Caller, user_id: int, body: Mapping[str, Any]) -> Shaped:
    """Replace a profile."""
    return _change(caller, user_id, body)


@users.operation(
    "PATCH",
    "/users/<id:user_id>",
    access=SIGNED_IN,
    body=ProfileChanges(),
    answer=ok(PRIVATE_USER),
    problems=CHANGES,
)
def update_user(caller: Caller, user_id: int, body: Mapping[str, Any]) -> Shaped:
    """Change the given members of a profile."""
    return _change(caller, user_id, body)


@users.operation(
    "DELETE",
    "/users/<id:user_id>",
    access=SIGNED_IN,
    answer=no_content(unfinished=DELETION),
    problems=(*CHANGES, FreshTokenRequired),
)
def delete_user(caller: Caller, user_id: int) -> Response | None:
    """Delete an account with its posts and sessions: your own with a fresh token, or any as an administrator.

    The account and its posts disappear at once in any case. 202 means that it had so many that some rows are left: the
    operator's `users purge` deletes them, and so does the same request of an administrator.
    """
    if caller.id == user_id and not caller.is_admin and not caller.is_fresh:
        raise FreshTokenRequired
    with transaction():
        user = service.get_user_for_deletion(caller, user_id)
        # RFC 9110 section 13.1.1 allows to repeat a request whose precondition failed because it was carried out.
        if user.deleted_at is None:
            require_unchanged(user, PRIVATE_USER)
        is_gone = service.delete_user(user)
    if not is_gone:
        in_batches(partial(deletion.delete_some, user_id), deletion.BATCH, deletion.REQUEST_SECONDS)
        is_gone = deletion.is_gone(user_id)
    if is_gone:
        return None
    return Response(dump_bytes({"status": "deleting"}, DELETION), 202, {"Retry-After": "1"}, mimetype=JSON)


@users.operation(
    "GET",
    "/users/<id:user_id>/export",
    access=FRESH,
    answer=written(USER_EXPORT, headers={"Content-Disposition": "The name of the file to save."}),
    problems=(Forbidden,),
)
def export_user(caller: Caller, user_id: int) -> Response:
    """Download everything stored about you, as one JSON document."""
    if caller.id != user_id:
        raise Forbidden
    headers = {"Content-Disposition": f'attachment; filename="gatepost-user-{user_id}.json"'}
    return Response(stream_with_context(_export(caller)), headers=headers, mimetype="application/json")


def _export(caller: Caller) -> Iterator[bytes]:
    """Yield the export document in parts, because it can be larger than the memory of a process."""
    yield b'{"user":' + dump_bytes(caller, PRIVATE_USER)
    for name, export in components().exporters.items():
        yield f',"{name}":['.encode()
        for number, item in enumerate(export(caller.id)):
            members = {k: format_timestamp(v) if isinstance(v, datetime) else v for k, v in item.items()}
            yield (b"," if number else b"") + orjson.dumps(members)
        yield b"]"
    yield b"}"


def _change(caller: Caller, user_id: int, changes: Mapping[str, Any]) -> Shaped:
    user = service.get_user_for_change(caller, user_id, changes)
    require_unchanged(user, PRIVATE_USER)
    return _shaped(caller, service.update_user(user, changes))


def _shaped(caller: Caller | None, user: Any) -> Shaped:
    return Shaped(user, PRIVATE_USER if service.may_act_for(caller, user.id) else PUBLIC_USER)
