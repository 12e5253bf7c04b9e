"""The rules of things."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from marshmallow import fields
from sqlalchemy import bindparam, delete, insert, select

from app.api.errors import NotFound, Problem
from app.api.fields import Identifier, InputSchema, OutputSchema, Text, Timestamp
from app.api.owned_rows import OwnedRows
from app.api.pagination import ListQuery, Page, sort_field
from app.database import fetch_all, precompiled, write
from tests.features.faulty.models import Thing, Visit

ORDERS = ("created_at", "name")


class NewThing(InputSchema):
    """A thing to create."""

    # Not the project's Text: it accepts NUL.
    name = fields.String(required=True, metadata={"example": "Anchor"})
    remark = Text(0, 200, load_default="", metadata={"example": "Heavy."})


class ThingQuery(ListQuery):
    """The query of a list."""

    sort = sort_field(*ORDERS, default="-created_at")


class ThingView(OutputSchema):
    """A thing."""

    id = Identifier()
    name = fields.String(metadata={"example": "Anchor"})
    created_at = Timestamp()
    updated_at = Timestamp()


class ThingLocked(Problem):
    """A lock that no code sets."""

    code, status = "thing_locked", 409
    detail = "The thing is locked."
    advice = "Unlock it."


things = OwnedRows(Thing, ThingView(), orders=ORDERS)
_remark = precompiled(select(Thing.remark).where(Thing.id == bindparam("row_id")))


def page(user_id: int, query: Mapping[str, Any]) -> Page:
    """Return a page of things, reading each row once more."""
    found = things.page(user_id, query)
    for row in found.items:
        fetch_all(_remark, row_id=row.id)
    return found


def create(user_id: int, values: Mapping[str, Any]) -> Any:
    """Insert a thing. NUL is an unexpected error on both databases, as it is with PostgreSQL's driver."""
    if "\0" in values["name"]:
        raise ValueError("A string literal cannot contain NUL (0x00) characters.")
    write(insert(Visit).values(user_id=user_id))
    return things.create(user_id, values)


def replace(user_id: int, thing_id: int, values: Mapping[str, Any]) -> Any:
    """Replace a thing without a look at If-Match."""
    things.get(user_id, thing_id)
    write(delete(Thing).where(Thing.id == thing_id))
    return create(user_id, {"id": thing_id, **values})


def remove(thing_id: int) -> None:
    """Delete anyone's thing. Raises NotFound."""
    if not write(delete(Thing).where(Thing.id == thing_id).returning(Thing.id)):
        raise NotFound


def export(user_id: int) -> Iterator[Mapping[str, Any]]:
    """Yield the things of a user in the form of responses, which lacks the remark."""
    return things.export(user_id)


def export_visits(user_id: int) -> Iterator[Mapping[str, Any]]:
    """Yield the visits of a user."""
    statement = select(Visit.id, Visit.user_id).where(Visit.user_id == user_id)
    return (row._asdict() for row in fetch_all(statement))
