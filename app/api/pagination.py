"""One keyset scheme, one page scheme, one envelope for every list.

Owns cursors, `Link` headers and the order of lists. Must not know what is listed.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from flask import request
from marshmallow import ValidationError, fields, validates_schema
from sqlalchemy import Integer, Row, Select, bindparam, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from app.api.errors import ValidationFailed
from app.api.fields import Choice, InputSchema, QueryInteger
from app.components import components
from app.database import fetch_all, fetch_one
from app.database.executor import precompiled
from app.security.keyed_hashes import DIGEST_BYTES, KeyedHasher

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
MAX_OFFSET = 10_000
_PURPOSE = b"cursor"
PLACES = ("page", "cursor")
# The sort key and the id, which makes the order a total one.
Columns = tuple[InstrumentedAttribute[Any], InstrumentedAttribute[Any]]


class ListQuery(InputSchema):
    """What every list takes. A list with an order of its own adds `sort`."""

    limit = QueryInteger(1, MAX_LIMIT, load_default=DEFAULT_LIMIT, metadata={"description": "Items a page."})
    cursor = fields.String(
        metadata={
            "description": "A next_cursor or prev_cursor of this very list. Not together with `page`.",
            "example": "bm90IGEgcmVhbCBjdXJzb3I",
        }
    )
    page = QueryInteger(
        1,
        metadata={
            "description": "Page number from 1, as far as row 10,000; costs a COUNT. Not together with `cursor`.",
            # Further pages are refused with a text that says where to go on.
            "maximum": MAX_OFFSET,
            "example": 3,
        },
    )

    @validates_schema
    def _one_way_to_walk(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if "page" in data and "cursor" in data:
            raise ValidationError("Give page or cursor, not both.", "page")
        if "page" in data and (data["page"] - 1) * data["limit"] >= MAX_OFFSET:
            raise ValidationError(f"Pages end at row {MAX_OFFSET}: use cursors to go on.", "page")


def sort_field(*keys: str, default: str) -> Choice:
    """Return the `sort` field of a list: one of `keys`, each with '-' in front for descending."""
    choices = [sign + key for key in keys for sign in ("", "-")]
    return Choice(
        *choices,
        load_default=default,
        metadata={"description": "Sort key; '-' in front for descending."},
    )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: its rows, the `pagination` member, and the targets of its links."""

    items: Sequence[Any]
    pagination: Mapping[str, Any]
    links: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list: the sort value and id of a row, and whether the walk goes back from it."""

    value: Any
    id: int
    backward: bool


def paginate(
    statement: Select[*tuple[Any, ...]],
    query: Mapping[str, Any],
    *,
    keys: Mapping[str, InstrumentedAttribute[Any]],
    id_column: InstrumentedAttribute[Any],
    **parameters: Any,
) -> Page:
    """Run the part of `statement` that `query` asks for, with `parameters` for its bound parameters.

    `statement` selects and filters, without order; its rows carry the sort key and `id` under those labels. What is
    put around it is kept, so a list is fast whose `statement` is the same object each time. `query` is the loaded
    ListQuery; its other members are the filters. Raises ValidationFailed for a cursor that was made for another list,
    sort or filter, or not by this service.
    """
    sort = query["sort"]
    columns = (keys[sort.removeprefix("-")], id_column)
    if "page" in query:
        return _by_page(statement, query, columns, parameters)
    return _by_cursor(statement, query, columns, parameters)


@lru_cache(maxsize=256)
def _walk(statement: Select[*tuple[Any, ...]], columns: Columns, order: str, *, way: str) -> Select[*tuple[Any, ...]]:
    """Return `statement` in its order and bounded: its "start", what is "beyond" a cursor's place, or a "page"."""
    descending = order == "-"
    if way == "beyond":
        key, id_column = columns
        place = tuple_(bindparam("place_key", type_=key.type), bindparam("place_id", type_=id_column.type))
        here = tuple_(key, id_column)
        statement = statement.where(here < place if descending else here > place)
    statement = statement.order_by(*(c.desc() if descending else c.asc() for c in columns))
    statement = statement.limit(bindparam("row_limit", type_=Integer()))
    if way == "page":
        statement = statement.offset(bindparam("row_offset", type_=Integer()))
    return precompiled(statement)


@lru_cache(maxsize=64)
def _count(statement: Select[*tuple[Any, ...]]) -> Select[int]:
    return precompiled(select(func.count()).select_from(statement.subquery()))


def _by_page(
    statement: Select[*tuple[Any, ...]], query: Mapping[str, Any], columns: Columns, parameters: Mapping[str, Any]
) -> Page:
    limit, page = query["limit"], query["page"]
    count = fetch_one(_count(statement), **parameters)
    total = count[0] if count else 0
    walk = _walk(statement, columns, query["sort"][:1], way="page")
    rows = fetch_all(walk, row_limit=limit, row_offset=(page - 1) * limit, **parameters)
    pages = -(-total // limit)
    numbers = {"first": 1, "last": max(pages, 1)}
    if page > 1:
        numbers["prev"] = min(page - 1, max(pages, 1))
    if page < pages:
        numbers["next"] = page + 1
    # A link must not lead to a page that is refused.
    numbers = {rel: number for rel, number in numbers.items() if (number - 1) * limit < MAX_OFFSET}
    return Page(
        rows,
        {"limit": limit, "page": page, "pages": pages, "total": total},
        {rel: _url("page", number) for rel, number in numbers.items()},
    )


def _by_cursor(
    statement: Select[*tuple[Any, ...]], query: Mapping[str, Any], columns: Columns, parameters: Mapping[str, Any]
) -> Page:
    limit, key = query["limit"], columns[0].key
    binding = _binding(query)
    is_time = columns[0].type.python_type is datetime
    cursor = _read_cursor(query["cursor"], binding, is_time=is_time) if "cursor" in query else None
    backward = cursor is not None and cursor.backward
    order = "-" if query["sort"].startswith("-") != backward else "+"
    if cursor is None:
        rows = fetch_all(_walk(statement, columns, order, way="start"), row_limit=limit + 1, **parameters)
    else:
        walk = _walk(statement, columns, order, way="beyond")
        rows = fetch_all(walk, row_limit=limit + 1, place_key=cursor.value, place_id=cursor.id, **parameters)
    more, rows = len(rows) > limit, rows[:limit]
    if backward:
        rows = rows[::-1]
    has_next = more if not backward else True
    has_prev = more if backward else cursor is not None
    cursors = {
        "next": _write_cursor(rows[-1], key, binding, backward=False) if rows and has_next else None,
        "prev": _write_cursor(rows[0], key, binding, backward=True) if rows and has_prev else None,
    }
    return Page(
        rows,
        {"limit": limit, "next_cursor": cursors["next"], "prev_cursor": cursors["prev"]},
        {rel: _url("cursor", value) for rel, value in cursors.items() if value},
    )


def _binding(query: Mapping[str, Any]) -> bytes:
    """What a cursor is good for: this route, its path, its sort and its filters, but any limit."""
    walk = {name: value for name, value in query.items() if name not in ("limit", "cursor", "page")}
    return orjson.dumps([request.path, walk], option=orjson.OPT_SORT_KEYS)


def _write_cursor(row: Row[Any], key: str, binding: bytes, *, backward: bool) -> str:
    value = getattr(row, key)
    data = orjson.dumps([value, row.id, backward])
    return _encode(_signer().sign(_PURPOSE, data + binding) + data)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _read_cursor(text: str, binding: bytes, *, is_time: bool) -> Cursor:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    signature, data = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:]
    # Several texts decode to the same bytes; only the one we wrote is ours.
    if _encode(raw) != text or not _signer().verify(_PURPOSE, data + binding, signature):
        raise ValidationFailed({"cursor": ["Not a cursor of this list with this sort and these filters."]})
    value, row_id, backward = orjson.loads(data)
    return Cursor(datetime.fromisoformat(value) if is_time else value, row_id, backward)


def _signer() -> KeyedHasher:
    return components().keyed_hasher


def _url(name: str, value: object) -> str:
    """The target of this request with another place. Relative, so that no Host header can send a client away."""
    others = _other_parameters(request.environ.get("QUERY_STRING", ""))
    return f"{request.script_root}{request.path}?{others}{name}={value}"


@lru_cache(maxsize=256)
def _other_parameters(query: str) -> str:
    """Return a query string, which was valid, without the place in the list, and ready for one to be put behind it."""
    pairs = [(name, value) for name, value in parse_qsl(query, keep_blank_values=True) if name not in PLACES]
    return f"{urlencode(pairs)}&" if pairs else ""
