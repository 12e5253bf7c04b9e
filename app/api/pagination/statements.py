"""The statements of lists. Each is built once for each set of filters and order, and reads a bounded number of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Integer, Label, Select, bindparam, func, select, true, tuple_
from sqlalchemy.orm import InstrumentedAttribute

from app.database import precompiled

# Of the rows that an index finds, at most so many are tested for filters that the index does not contain.
MAX_TESTED = 10_000
# An expression is a Label with the name of the row's attribute that has its value.
SortKey = InstrumentedAttribute[Any] | Label[Any]
Conditions = tuple[ColumnElement[bool], ...]
_CACHED = 512


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition that a request can add to a list; it has a bound parameter of the filter's name.

    `sort` is the key of the order whose index contains the condition, "" if none does, and None if the indexes of all
    orders do. Of several filters that are `alone`, no index contains more than one.
    """

    condition: ColumnElement[bool]
    sort: str | None = None
    alone: bool = False


Filters = Mapping[str, Filter]
NO_FILTERS: Filters = {}


def time_filters(key: str, column: ColumnElement[Any] | InstrumentedAttribute[Any]) -> dict[str, Filter]:
    """Return the filters `…_after` and `…_before` of a time, whose sort key is `key`, as in `created_at`."""
    name = key.removesuffix("_at")
    return {
        f"{name}_after": Filter(column > bindparam(f"{name}_after"), key),
        f"{name}_before": Filter(column < bindparam(f"{name}_before"), key),
    }


class Walk(NamedTuple):
    """A way to read a list: along one index, which contains the order and `conditions`, testing each row for `tests`.

    `statement` is the unordered SELECT of the list. `gathered` selects the ids of all rows if they are found by the
    index of another order.
    """

    statement: Select[*tuple[Any, ...]]
    id_column: InstrumentedAttribute[Any]
    key: SortKey
    descending: bool
    conditions: Conditions
    tests: Conditions
    gathered: Select[*tuple[Any, ...]] | None = None


def find_walks(
    statement: Select[*tuple[Any, ...]],
    id_column: InstrumentedAttribute[Any],
    keys: Mapping[str, SortKey],
    sort: str,
    filters: Sequence[Filter],
) -> list[Walk]:
    """Return the walk in the order `sort`, and after it those in the other orders whose indexes contain a filter."""
    key = sort.removeprefix("-")
    others = {used.sort for used in filters if used.sort and used.sort != key}
    return [
        Walk(statement, id_column, keys[name], sort.startswith("-"), *_split(filters, name))
        for name in (key, *sorted(others))
    ]


def _split(filters: Sequence[Filter], sort: str) -> tuple[Conditions, Conditions]:
    """Return the conditions that the index of the order `sort` contains, and the others as tests."""
    conditions, tests = [], []
    has_alone = False
    for used in filters:
        if used.sort in (None, sort) and not (used.alone and has_alone):
            conditions.append(used.condition)
        else:
            tests.append(_test(used.condition))
        has_alone = has_alone or used.alone
    return tuple(conditions), tuple(tests)


@lru_cache(maxsize=_CACHED)
def _test(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return a condition in a form for which no database uses an index."""
    return condition.is_(true())


@lru_cache(maxsize=_CACHED)
def exceeding(walks: tuple[Walk, ...]) -> Select[*tuple[Any, ...]]:
    """Return the statement whose one row has, for each walk, a value if its index finds more than `row_tested` rows."""
    found = [_sorted(_bare(walk, [walk.id_column], walk.conditions), walk) for walk in walks]
    ends = [_limited(statement, 1, "row_tested").scalar_subquery() for statement in found]
    return precompiled(select(*(end.label(f"row{number}") for number, end in enumerate(ends))))


def narrow(walks: Sequence[Walk], exceeded: Sequence[object]) -> Walk:
    """Return the first walk, without tests if one of `walks` finds few enough rows to test all of them."""
    walk, *others = walks
    if exceeded[0] is None:
        return walk._replace(conditions=walk.conditions + walk.tests, tests=())
    for other, last in zip(others, exceeded[1:], strict=True):
        if last is None:
            return _gathered(walk, other)
    return walk


@lru_cache(maxsize=_CACHED)
def _gathered(walk: Walk, other: Walk) -> Walk:
    """Return the walk that finds its rows by the index of `other`, and sorts them."""
    # Both databases execute a subquery that has a LIMIT as it is written.
    ids = _sorted(_bare(other, [other.id_column], other.conditions + other.tests), other)
    ids = ids.limit(bindparam("row_tested", type_=Integer()))
    key = _element(walk.key)
    # Equal to the key, but no index has this expression: the database can only sort the rows.
    unindexed = func.coalesce(key, key, type_=key.type).label(walk.key.key)
    return walk._replace(key=unindexed, conditions=(walk.id_column.in_(ids),), tests=(), gathered=ids)


@lru_cache(maxsize=_CACHED)
def horizon_of(walk: Walk, *, from_cursor: bool) -> Select[*tuple[Any, ...]]:
    """Return the statement for the position, `value` and `id`, of the last of the rows to test."""
    columns = [_element(walk.key).label("value"), walk.id_column.label("id")]
    statement = _bare(walk, columns, walk.conditions + _bounds(walk, from_cursor=from_cursor))
    return precompiled(_limited(_sorted(statement, walk), 1, "row_tested"))


@lru_cache(maxsize=_CACHED)
def listed(walk: Walk, *, from_cursor: bool, to_horizon: bool) -> Select[*tuple[Any, ...]]:
    """Return the statement for the first `row_limit` rows, beyond a cursor and up to a horizon if they are given."""
    bounds = _bounds(walk, from_cursor=from_cursor, to_horizon=to_horizon)
    statement = walk.statement.where(*walk.conditions, *walk.tests, *bounds)
    return precompiled(_limited(_sorted(statement, walk)))


@lru_cache(maxsize=_CACHED)
def listed_behind(walk: Walk) -> Select[*tuple[Any, ...]]:
    """Return the statement for the rows in the other direction. It does not test them, so that it finds one at once."""
    return listed(walk._replace(descending=not walk.descending, tests=()), from_cursor=True, to_horizon=False)


@lru_cache(maxsize=_CACHED)
def numbered(walk: Walk, *, to_horizon: bool) -> Select[*tuple[Any, ...]]:
    """Return the statement for `row_limit` rows after the first `row_offset`. It joins no row before them."""
    page = _limited(_all_ids(walk, to_horizon=to_horizon), offset="row_offset")
    return precompiled(_sorted(walk.statement.where(walk.id_column.in_(page)), walk))


@lru_cache(maxsize=_CACHED)
def counted(walk: Walk, *, to_horizon: bool) -> Select[int]:
    """Return the statement that counts the rows of the bare table, at most `row_limit`."""
    rows = walk.gathered
    if rows is None:
        rows = _limited(_all_ids(walk, to_horizon=to_horizon))
    return precompiled(select(func.count()).select_from(rows.subquery()))


def _all_ids(walk: Walk, *, to_horizon: bool) -> Select[*tuple[Any, ...]]:
    conditions = walk.conditions + walk.tests + _bounds(walk, to_horizon=to_horizon)
    return _sorted(_bare(walk, [walk.id_column], conditions), walk)


def _bare(walk: Walk, columns: Sequence[Any], conditions: Conditions) -> Select[*tuple[Any, ...]]:
    """Return a SELECT from the table of the list alone: a join of `walk.statement` does not change what rows it has."""
    always = () if walk.statement.whereclause is None else (walk.statement.whereclause,)
    return select(*columns).where(*always, *conditions)


def _bounds(walk: Walk, *, from_cursor: bool = False, to_horizon: bool = False) -> Conditions:
    key = _element(walk.key)
    row = tuple_(key, walk.id_column)

    def position(name: str) -> Any:
        return tuple_(bindparam(f"{name}_key", type_=key.type), bindparam(f"{name}_id", type_=walk.id_column.type))

    bounds: list[ColumnElement[bool]] = []
    if from_cursor:
        bounds.append(row < position("cursor") if walk.descending else row > position("cursor"))
    if to_horizon:
        bounds.append(row >= position("horizon") if walk.descending else row <= position("horizon"))
    return tuple(bounds)


def _element(key: SortKey) -> ColumnElement[Any]:
    return key.element if isinstance(key, Label) else key.expression


def _sorted(statement: Select[*tuple[Any, ...]], walk: Walk) -> Select[*tuple[Any, ...]]:
    columns = (_element(walk.key), walk.id_column)
    return statement.order_by(*(column.desc() if walk.descending else column.asc() for column in columns))


def _limited(
    statement: Select[*tuple[Any, ...]], limit: int | None = None, offset: str | None = None
) -> Select[*tuple[Any, ...]]:
    statement = statement.limit(bindparam("row_limit", type_=Integer()) if limit is None else limit)
    return statement if offset is None else statement.offset(bindparam(offset, type_=Integer()))
