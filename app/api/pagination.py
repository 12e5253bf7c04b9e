"""Pagination of every list: by cursor (keyset) or by page number (offset), in one envelope with `Link` headers."""

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
from marshmallow import ValidationError, fields, validate, validates_schema
from sqlalchemy import ColumnElement, Integer, Row, Select, bindparam, func, select, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from app.api.errors import ValidationFailed
from app.api.fields import Choice, InputSchema, QueryInteger
from app.components import components
from app.database import fetch_all, precompiled
from app.security.keyed_hashes import DIGEST_BYTES

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
# OFFSET makes the database read and discard this many rows at most.
MAX_OFFSET = 10_000
# Longer than that of any sort key of up to a thousand code points.
MAX_CURSOR_LENGTH = 8192
NOT_A_CURSOR = "Not a cursor of this list with this sort and these filters."
_PURPOSE = b"cursor"
POSITION_PARAMETERS = ("page", "cursor")
# The sort key and, because rows can be equal in it, the id.
Columns = tuple[InstrumentedAttribute[Any], InstrumentedAttribute[Any]]
# By name, the conditions that a request can add to a list; each has a bound parameter of the same name.
Filters = Mapping[str, ColumnElement[bool]]
NO_FILTERS: Filters = {}


class ListQuery(InputSchema):
    """The query parameters of every list. Each list adds its `sort` field, and fields for its filters."""

    limit = QueryInteger(1, MAX_LIMIT, load_default=DEFAULT_LIMIT, metadata={"description": "Items a page."})
    cursor = fields.String(
        validate=validate.Length(max=MAX_CURSOR_LENGTH, error=NOT_A_CURSOR),
        metadata={
            "description": "A next_cursor or prev_cursor of the same list. Not together with `page`.",
            "example": "bm90IGEgcmVhbCBjdXJzb3I",
        },
    )
    page = QueryInteger(
        1,
        metadata={
            "description": "Page number from 1, up to row 10,000; costs a COUNT. Not together with `cursor`.",
            # Not in the field's own range: the error for a later page advises to use cursors.
            "maximum": MAX_OFFSET,
            "example": 3,
        },
    )

    @validates_schema
    def _validate_position(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if "page" in data and "cursor" in data:
            raise ValidationError("Give page or cursor, not both.", "page")
        if "page" in data and (data["page"] - 1) * data["limit"] >= MAX_OFFSET:
            raise ValidationError(f"Pages end at row {MAX_OFFSET}. Use cursors to read further.", "page")


def sort_field(*keys: str, default: str) -> Choice:
    """Return the `sort` field of a list, which accepts each of `keys`, and each with '-' in front for descending."""
    choices = [sign + key for key in keys for sign in ("", "-")]
    return Choice(
        *choices,
        load_default=default,
        metadata={"description": "Sort key; '-' in front for descending."},
    )


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: its rows, the `pagination` member of the envelope, and URLs by their link relation."""

    items: Sequence[Any]
    pagination: Mapping[str, Any]
    links: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a list: the sort key and the id of a row. `backward` asks for the rows before it."""

    value: Any
    id: int
    backward: bool


def paginate(
    statement: Select[*tuple[Any, ...]],
    query: Mapping[str, Any],
    *,
    keys: Mapping[str, InstrumentedAttribute[Any]],
    id_column: InstrumentedAttribute[Any],
    filters: Filters = NO_FILTERS,
    **parameters: Any,
) -> Page:
    """Return the page of `statement` that `query`, a loaded ListQuery, asks for.

    `statement` is an unordered SELECT whose rows have the columns of `keys`, the sort keys by name, and `id`. It must
    be the same object each time, because what is built from it is cached. Each of `filters` whose name is a member of
    `query` or of `parameters` becomes a condition. `parameters` are values of bound parameters, and override members of
    `query`. Raises ValidationFailed for a cursor that was not made by this service for this list, sort and filters.
    """
    values = {name: query[name] for name in filters if name in query} | parameters
    statement = _filtered(statement, tuple(filters[name] for name in filters if name in values))
    columns, limit = (keys[query["sort"].removeprefix("-")], id_column), query["limit"]
    descending = query["sort"].startswith("-")
    # Runs its statements itself and not through a function: the call stack of a query is short
    # (docs/decisions/0001-transactions.md).
    if "page" in query:
        [(total,)] = fetch_all(_count(statement), **values)
        paged = _ordered(statement, columns, descending=descending, part="page")
        rows = fetch_all(paged, row_limit=limit, row_offset=(query["page"] - 1) * limit, **values)
        return _numbered_page(rows, query["page"], limit, total)
    binding = _binding(query)
    cursor = _read_cursor(query["cursor"], binding, columns[0]) if "cursor" in query else None
    if cursor is None:
        rows = fetch_all(
            _ordered(statement, columns, descending=descending, part="start"), row_limit=limit + 1, **values
        )
    else:
        beyond = _ordered(statement, columns, descending=descending != cursor.backward, part="beyond")
        rows = fetch_all(beyond, row_limit=limit + 1, cursor_key=cursor.value, cursor_id=cursor.id, **values)
    return _cursor_page(rows, cursor, limit, columns[0].key, binding)


@lru_cache(maxsize=256)
def _filtered(
    statement: Select[*tuple[Any, ...]], conditions: tuple[ColumnElement[bool], ...]
) -> Select[*tuple[Any, ...]]:
    return statement.where(*conditions)


@lru_cache(maxsize=256)
def _ordered(
    statement: Select[*tuple[Any, ...]], columns: Columns, *, descending: bool, part: str
) -> Select[*tuple[Any, ...]]:
    """Return `statement` with its order and limit. `part` is "start", "beyond" a cursor, or "page" (with an offset)."""
    if part == "beyond":
        key, id_column = columns
        cursor = tuple_(bindparam("cursor_key", type_=key.type), bindparam("cursor_id", type_=id_column.type))
        row = tuple_(key, id_column)
        statement = statement.where(row < cursor if descending else row > cursor)
    statement = statement.order_by(*(c.desc() if descending else c.asc() for c in columns))
    statement = statement.limit(bindparam("row_limit", type_=Integer()))
    if part == "page":
        statement = statement.offset(bindparam("row_offset", type_=Integer()))
    return precompiled(statement)


@lru_cache(maxsize=64)
def _count(statement: Select[*tuple[Any, ...]]) -> Select[int]:
    return precompiled(select(func.count()).select_from(statement.subquery()))


def _numbered_page(rows: Sequence[Row[Any]], page: int, limit: int, total: int) -> Page:
    pages = -(-total // limit)
    numbers = {"first": 1, "last": max(pages, 1)}
    if page > 1:
        numbers["prev"] = min(page - 1, max(pages, 1))
    if page < pages:
        numbers["next"] = page + 1
    # Without the links to pages that would be refused.
    numbers = {rel: number for rel, number in numbers.items() if (number - 1) * limit < MAX_OFFSET}
    return Page(
        rows,
        {"limit": limit, "page": page, "pages": pages, "total": total},
        {rel: _url("page", number) for rel, number in numbers.items()},
    )


def _cursor_page(rows: Sequence[Row[Any]], cursor: Cursor | None, limit: int, key: str, binding: bytes) -> Page:
    """Return the page of `rows`, of which there is one more than `limit` if the list continues."""
    backward = cursor is not None and cursor.backward
    more, rows = len(rows) > limit, rows[:limit]
    if backward:
        rows = rows[::-1]
    has_next = backward or more
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
    """Return what a cursor is valid for: this path with this sort and these filters, but with any limit."""
    bound = {name: value for name, value in query.items() if name not in ("limit", *POSITION_PARAMETERS)}
    return orjson.dumps([request.path, bound], option=orjson.OPT_SORT_KEYS)


def _write_cursor(row: Row[Any], key: str, binding: bytes, *, backward: bool) -> str:
    value = getattr(row, key)
    data = orjson.dumps([value, row.id, backward])
    return _encode(components().keyed_hasher.sign(_PURPOSE, data + binding) + data)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _read_cursor(text: str, binding: bytes, key: InstrumentedAttribute[Any]) -> Cursor:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    signature, data = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:]
    # Base64 has several encodings of the same bytes; only the canonical one is accepted.
    if _encode(raw) != text or not components().keyed_hasher.verify(_PURPOSE, data + binding, signature):
        raise ValidationFailed({"cursor": [NOT_A_CURSOR]})
    value, row_id, backward = orjson.loads(data)
    return Cursor(datetime.fromisoformat(value) if key.type.python_type is datetime else value, row_id, backward)


def _url(name: str, value: object) -> str:
    """Return the URL of this request with another position. It is relative, so that a forged Host has no effect."""
    others = _other_parameters(request.environ.get("QUERY_STRING", ""))
    return f"{request.script_root}{request.path}?{others}{name}={value}"


@lru_cache(maxsize=256)
def _other_parameters(query: str) -> str:
    """Return a query string without its position, and with "&" at its end unless it is empty."""
    pairs = parse_qsl(query, keep_blank_values=True)
    pairs = [(name, value) for name, value in pairs if name not in POSITION_PARAMETERS]
    return f"{urlencode(pairs)}&" if pairs else ""
