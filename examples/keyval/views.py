"""The HTTP routes of items and transfers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import url_for

from app.api.access import SIGNED_IN, Caller
from app.api.errors import Conflict, NotFound, PreconditionFailed
from app.api.pagination import Page
from app.api.request_body import load
from app.api.responses import Created, created, listing, no_content, ok
from app.api.routing import Api
from examples.keyval import service
from examples.keyval.problems import InsufficientFunds, KeyTaken
from examples.keyval.schemas import ITEM, PATH_KEY, TRANSFER, ItemQuery, NewItem, NewTransfer, NewValue, PathKey
from examples.keyval.service import Transferred

keyval = Api("keyval", __name__)
# The converter `path` accepts slashes: servers decode the path before it is matched, so that a key "a/b" arrives as it
# is even if the client has sent a%2Fb.
ONE_ITEM = "/items/<path:key>"
ARGUMENTS = {"key": PATH_KEY}
_PATH_KEY = PathKey()


@keyval.operation("GET", "/items", access=SIGNED_IN, query=ItemQuery(), answer=listing(ITEM))
def list_items(caller: Caller, query: Mapping[str, Any]) -> Page:
    """List your items."""
    return service.items.page(caller.id, query)


@keyval.operation(
    "POST",
    "/items",
    access=SIGNED_IN,
    body=NewItem(),
    answer=created(ITEM),
    problems=(KeyTaken,),
    idempotent=True,
)
def create_item(caller: Caller, body: Mapping[str, Any]) -> Created:
    """Create an item under a new key."""
    return _created(service.create_item(caller.id, body))


@keyval.operation("GET", ONE_ITEM, access=SIGNED_IN, answer=ok(ITEM), problems=(NotFound,), arguments=ARGUMENTS)
def get_item(caller: Caller, key: str) -> Any:
    """Read an item."""
    return service.get_item(caller.id, key)


@keyval.operation(
    "PUT",
    ONE_ITEM,
    access=SIGNED_IN,
    body=NewValue(),
    answer=ok(ITEM, also=(201,)),
    problems=(NotFound, PreconditionFailed),
    arguments=ARGUMENTS,
)
def put_item(caller: Caller, key: str, body: Mapping[str, Any]) -> Any:
    """Set the value of an item, and create the item if there is none with this key."""
    item, is_new = service.put_item(caller.id, load(_PATH_KEY, {"key": key})["key"], body["val"])
    return _created(item) if is_new else item


@keyval.operation(
    "DELETE",
    ONE_ITEM,
    access=SIGNED_IN,
    answer=no_content(),
    problems=(NotFound, PreconditionFailed),
    arguments=ARGUMENTS,
)
def delete_item(caller: Caller, key: str) -> None:
    """Delete an item."""
    service.delete_item(caller.id, key)


@keyval.operation(
    "POST",
    "/transfers",
    access=SIGNED_IN,
    body=NewTransfer(),
    answer=ok(TRANSFER),
    problems=(NotFound, InsufficientFunds, Conflict),
    idempotent=True,
)
def create_transfer(caller: Caller, body: Mapping[str, Any]) -> Transferred:
    """Move an amount from one item to another. Both change, or none."""
    return service.transfer(caller.id, body["from_"], body["to"], body["amount"])


def _created(item: Any) -> Created:
    return Created(item, url_for("keyval.get_item", key=item.key))
