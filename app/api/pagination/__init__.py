"""Pagination of every list: by cursor (keyset) or by page number (offset), in one envelope with `Link` headers."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, urlencode

import orjson
from flask import request
from marshmallow import ValidationError, fields, missing, validate, validates_schema
from sqlalchemy import Row, Select
from sqlalchemy.orm import InstrumentedAttribute

from app.api.errors import ValidationFailed
from app.api.fields import Choice, InputSchema, QueryInteger
from app.api.pagination import statements
from app.api.pagination.cursors import MAX_CURSOR_LENGTH, NOT_A_CURSOR, Cursor, read_cursor
from app.api.pagination.statements import NO_FILTERS, Filter, Filters, SortKey, Walk, find_walks, time_filters
from app.database import fetch_all

__all__ = [
    "MAX_CURSOR_LENGTH",
    "Filter",
    "Filters",
    "ListQuery",
    "Page",
    "SortKey",
    "paginate",
    "sort_field",
    "time_filters",
]

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
# Numbered pages reach and count this many rows.
MAX_OFFSET = 10_000
POSITION_PARAMETERS = ("page", "cursor")
# A cursor is valid with any values of these.
_NOT_BOUND = frozenset({"limit", "include", *POSITION_PARAMETERS})
USE_CURSORS = "Too many rows to number the pages of these filters in this order. Use cursors."


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
            "description": "Page number from 1, up to row 10,000. Not together with `cursor`.",
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


def sort_field(*keys: str, default: str = "", description: str = "Sort key; '-' in front for descending.") -> Choice:
    """Return the `sort` field of a list, which accepts each of `keys`, and each with '-' in front for descending.

    Without `default`, the service passes `default_sort` to `paginate`.
    """
    choices = [sign + key for key in keys for sign in ("", "-")]
    return Choice(*choices, load_default=default or missing, metadata={"description": description})


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list: its rows, the `pagination` member of the envelope, and URLs by their link relation."""

    items: Sequence[Any]
    pagination: Mapping[str, Any]
    links: Mapping[str, str]


# Yields statements with the values of their parameters, is sent their rows, and returns the page.
Steps = Generator[tuple[Select[*tuple[Any, ...]], Mapping[str, Any]], Sequence[Row[Any]], Page]


def paginate(
    statement: Select[*tuple[Any, ...]],
    query: Mapping[str, Any],
    *,
    keys: Mapping[str, SortKey],
    id_column: InstrumentedAttribute[Any],
    filters: Filters = NO_FILTERS,
    default_sort: str = "",
    **parameters: Any,
) -> Page:
    """Return the page of `statement` that `query`, a loaded ListQuery, asks for.

    `statement` is an unordered SELECT whose rows have the attributes of `keys`, the sort keys by name, and `id`; a join
    in it must leave the number of rows as it is. It must be the same object each time, because what is built from it is
    cached. Each of `filters` whose name is a member of `query` or of `parameters` becomes a condition. `parameters` are
    values of bound parameters, and override members of `query`. Raises ValidationFailed for a cursor that was not made
    by this service for this list, sort and filters, and for a numbered page that would have to test too many rows.
    """
    query = {"sort": default_sort, **query}
    values = {name: query[name] for name in filters if name in query} | parameters
    used = [filters[name] for name in filters if name in values]
    steps = _read(query, find_walks(statement, id_column, keys, query["sort"], used), values)
    # Runs all statements itself, so that the call stack of a query is short (docs/decisions/0001-transactions.md).
    try:
        part, bound = next(steps)
        while True:
            part, bound = steps.send(fetch_all(part, **bound))
    except StopIteration as end:
        page: Page = end.value
        return page


def _read(query: Mapping[str, Any], walks: Sequence[Walk], values: dict[str, Any]) -> Steps:
    """Find the index to read the list by, and how far, if there are filters that no index contains; then read it."""
    walk, cursor = walks[0], None
    if "cursor" in query:
        cursor = read_cursor(query["cursor"], _binding(query), walk.key.type.python_type)
    if walk.tests:
        values["row_tested"] = statements.MAX_TESTED
        walk = statements.narrow(walks, (yield statements.exceeding(tuple(walks)), values)[0])
    if cursor is not None:
        walk = walk._replace(descending=walk.descending != cursor.backward)
        values |= {"cursor_key": cursor.value, "cursor_id": cursor.id}
    horizon = None
    if walk.tests:
        for horizon in (yield statements.horizon_of(walk, from_cursor=cursor is not None), values):
            values |= {"horizon_key": horizon.value, "horizon_id": horizon.id}
    if "page" in query:
        return (yield from _read_numbered(query, walk, values, horizon))
    return (yield from _read_by_cursor(query, walk, values, cursor, horizon))


def _read_numbered(query: Mapping[str, Any], walk: Walk, values: dict[str, Any], horizon: Row[Any] | None) -> Steps:
    """Read and count a page. Up to a horizon, only the pages that have rows are known; any other is refused."""
    page, limit, is_partial = query["page"], query["limit"], horizon is not None
    [(count,)] = yield statements.counted(walk, to_horizon=is_partial), values | {"row_limit": MAX_OFFSET + 1}
    if is_partial and page > 1 and (page - 1) * limit >= count:
        raise ValidationFailed({"page": [USE_CURSORS]})
    place = {"row_limit": limit, "row_offset": (page - 1) * limit}
    rows = yield statements.numbered(walk, to_horizon=is_partial), values | place
    is_capped, total = is_partial or count > MAX_OFFSET, min(count, MAX_OFFSET)
    pages = -(-total // limit)
    # The number of the last page is not known if there are more rows than counted.
    numbers = {"first": 1} if is_capped else {"first": 1, "last": max(pages, 1)}
    if page > 1:
        numbers["prev"] = min(page - 1, max(pages, 1))
    if page < pages:
        numbers["next"] = page + 1
    pagination = {"limit": limit, "page": page, "pages": pages, "total": total}
    capped = {"total_capped": True} if is_capped else {}
    return Page(rows, pagination | capped, {rel: _url("page", number) for rel, number in numbers.items()})


def _read_by_cursor(
    query: Mapping[str, Any], walk: Walk, values: dict[str, Any], cursor: Cursor | None, horizon: Row[Any] | None
) -> Steps:
    """Read a page that goes on after its last row or, if it is not full, after a horizon."""
    limit, backward = query["limit"], cursor is not None and cursor.backward
    part = statements.listed(walk, from_cursor=cursor is not None, to_horizon=horizon is not None)
    rows = yield part, values | {"row_limit": limit + 1}
    has_more, rows = len(rows) > limit, rows[:limit]
    onward = back = None
    if has_more:
        onward = Cursor(getattr(rows[-1], walk.key.key), rows[-1].id, backward)
    elif horizon is not None:
        onward = Cursor(horizon.value, horizon.id, backward)
    if rows and cursor is not None:
        back = Cursor(getattr(rows[0], walk.key.key), rows[0].id, not backward)
    elif cursor is not None:
        turned = cursor.turned(descending=walk.descending)
        behind = yield statements.listed_behind(walk), values | {"cursor_id": turned.id, "row_limit": 1}
        back = turned if behind else None
    texts = {"prev" if c.backward else "next": c.write(_binding(query)) for c in (onward, back) if c is not None}
    return Page(
        rows[::-1] if backward else rows,
        {"limit": limit, "next_cursor": texts.get("next"), "prev_cursor": texts.get("prev")},
        {rel: _url("cursor", texts[rel]) for rel in ("next", "prev") if rel in texts},
    )


def _binding(query: Mapping[str, Any]) -> bytes:
    """Return what a cursor is valid for: this path with this sort and these filters."""
    bound = {name: value for name, value in query.items() if name not in _NOT_BOUND}
    return orjson.dumps([request.path, bound], option=orjson.OPT_SORT_KEYS)


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
