"""The rules of items: keys are unique for each user, and a transfer changes both of its items or none."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from sqlalchemy import bindparam, select
from sqlalchemy.exc import IntegrityError

from app.api.conditional import require_creatable, require_unchanged
from app.api.errors import Conflict, NotFound, ValidationFailed
from app.api.owned_rows import OwnedRows
from app.components import utc_now
from app.database import db, fetch_one, precompiled, violates
from examples.keyval.models import ORDERS, Item
from examples.keyval.problems import InsufficientFunds, KeyTaken
from examples.keyval.schemas import ITEM, MAX_NUMBER

# The list, the export and the creation are the ordinary ones of rows that belong to a user.
items = OwnedRows(Item, ITEM, orders=ORDERS)
_ITEM = precompiled(
    select(*Item.__table__.columns).where(Item.user_id == bindparam("owner_id"), Item.key == bindparam("item_key"))
)


class Transferred(NamedTuple):
    """Both items of a transfer."""

    from_: Item
    to: Item


def get_item(user_id: int, key: str) -> Any:
    """Return an item. Raises NotFound."""
    item = fetch_one(_ITEM, owner_id=user_id, item_key=key)
    if item is None:
        raise NotFound
    return item


def create_item(user_id: int, values: Mapping[str, Any]) -> Any:
    """Insert an item and return it. Raises KeyTaken, and TokenRevoked as OwnedRows does."""
    try:
        return items.create(user_id, values)
    except IntegrityError as error:
        if violates(error, "uq_items_user_id_key"):
            raise KeyTaken from error
        raise


def put_item(user_id: int, key: str, val: str | int) -> tuple[Any, bool]:
    """Set the value of an item, which is created if it does not exist; return it, and whether it is new.

    The preconditions of the request are compared under the lock of the row, so that of two requests with the same
    entity tag one fails. Raises PreconditionFailed.
    """
    while True:
        item = _lock(user_id, key).get(key)
        if item is not None:
            require_unchanged(item, ITEM)
            return _set(item, val), False
        require_creatable()
        # On PostgreSQL another request can create the item meanwhile. The failed INSERT would end the transaction; with
        # a savepoint it does not, and the item is there at the next attempt.
        with suppress(KeyTaken), db.session.begin_nested():
            return create_item(user_id, {"key": key, "val": val}), True


def delete_item(user_id: int, key: str) -> None:
    """Delete an item. Raises NotFound, and PreconditionFailed for a stale entity tag."""
    item = _lock(user_id, key).get(key)
    if item is None:
        raise NotFound
    require_unchanged(item, ITEM)
    db.session.delete(item)
    db.session.flush()


def transfer(user_id: int, source: str, target: str, amount: int) -> Transferred:
    """Move `amount` from the value of one item to that of another.

    Raises NotFound if one of them does not exist, ValidationFailed if a value is not an integer, InsufficientFunds if
    the first would become negative, and Conflict if the second would exceed MAX_NUMBER.
    """
    found = _lock(user_id, source, target)
    keys = {"from": source, "to": target}
    for name, key in keys.items():
        if key not in found:
            raise NotFound(f"There is no item with the key in `{name}`.")
    texts = [name for name, key in keys.items() if not isinstance(found[key].val, int)]
    if texts:
        raise ValidationFailed({name: ["The value of this item is not an integer."] for name in texts})
    paid, received = int(found[source].val) - amount, int(found[target].val) + amount
    if paid < 0:
        raise InsufficientFunds
    if received > MAX_NUMBER:
        raise Conflict("The value of the item in `to` would become too large.")
    return Transferred(_set(found[source], paid), _set(found[target], received))


def _lock(user_id: int, *keys: str) -> dict[str, Item]:
    """Return those of these items that exist, by their keys, and lock them until the transaction ends.

    The rows are locked in the order of their ids: two opposite transfers that lock them in different orders could each
    wait for a row that the other one has locked. SQLite, which has one writer at a time, locks the whole database.
    """
    statement = select(Item).where(Item.user_id == user_id, Item.key.in_(keys)).order_by(Item.id).with_for_update()
    return {item.key: item for item in db.session.scalars(statement)}


def _set(item: Item, val: str | int) -> Item:
    """Set the value of a locked item. If it is the same, `updated_at` does not change either."""
    if item.val != val:
        item.val, item.updated_at = val, utc_now()
        db.session.flush()
    return item
