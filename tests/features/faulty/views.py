"""The HTTP routes of things."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.api.access import ANYONE, SIGNED_IN, Caller
from app.api.errors import NotFound, PreconditionFailed
from app.api.pagination import Page
from app.api.responses import Created, created, listing, no_content, ok
from app.api.routing import Api
from tests.features.faulty import service
from tests.features.faulty.service import NewThing, ThingLocked, ThingQuery, ThingView

things = Api("things", __name__)


@things.operation("GET", "/things", access=SIGNED_IN, query=ThingQuery(), answer=listing(ThingView()))
def list_things(caller: Caller, query: Mapping[str, Any]) -> Page:
    """List your things."""
    return service.page(caller.id, query)


@things.operation(
    "POST", "/things", access=SIGNED_IN, body=NewThing(), answer=created(ThingView()), problems=(ThingLocked,)
)
def create_thing(caller: Caller, body: Mapping[str, Any]) -> Created:
    """Create a thing."""
    thing = service.create(caller.id, body)
    return Created(thing, f"/api/v1/things/{thing.id}")


@things.operation("GET", "/things/<id:thing_id>", access=SIGNED_IN, answer=ok(ThingView()), problems=(NotFound,))
def get_thing(caller: Caller, thing_id: int) -> Any:
    """Read a thing."""
    return service.things.get(caller.id, thing_id)


@things.operation(
    "PUT",
    "/things/<id:thing_id>",
    access=SIGNED_IN,
    body=NewThing(),
    answer=ok(ThingView()),
    problems=(NotFound, PreconditionFailed),
)
def replace_thing(caller: Caller, thing_id: int, body: Mapping[str, Any]) -> Any:
    """Replace a thing."""
    return service.replace(caller.id, thing_id, body)


@things.operation("DELETE", "/things/<id:thing_id>", access=ANYONE, answer=no_content(), problems=(NotFound,))
def delete_thing(thing_id: int) -> None:
    """Delete a thing."""
    service.remove(thing_id)


@things.get("/raw-things")
def list_raw_things() -> list[str]:
    """Bypass the checks of endpoints."""
    return []
