"""Lists: pages by cursor and by number in each order, from an index, with a number of statements that does not grow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlencode

from app.features import Call
from gatepost.testing.plans import Statement, explaining, is_scan, recorded
from gatepost.testing.scenes import Scene, explain
from gatepost.testing.statements import counted
from gatepost.testing.subjects import Operation, for_each
from gatepost.testing.subjects import pytest_generate_tests as pytest_generate_tests

# Parameters of a list that are no filters.
PLACES = ("limit", "cursor", "page", "sort")
OTHERS = (*PLACES, "include")
MAX_ITEMS = 100


def is_list(operation: Operation) -> bool:
    """Return whether an operation is a list with a call that succeeds."""
    return operation.endpoint.answer.is_list and bool(operation.successes)


def sorts(operation: Operation) -> tuple[str, ...]:
    """Return the orders of a list."""
    field = operation.endpoint.query.fields.get("sort") if operation.endpoint.query else None
    return tuple(getattr(field, "choices", ()))


def views(scene: Scene, operation: Operation) -> Iterator[tuple[Call, str]]:
    """Yield a call for each set of filters and each user in the examples, with its URL without place and order."""
    seen = set()
    for call in operation.successes:
        path, _, query = scene.path(call).partition("?")
        filters = [(name, value) for name, value in parse_qsl(query) if name not in PLACES]
        url = f"{path}?{urlencode(filters)}"
        if (call.by, url) not in seen:
            seen.add((call.by, url))
            yield call, url


def read(scene: Scene, call: Call, url: str) -> dict[str, Any]:
    """Return a page of a list."""
    response = scene.send(call, path=url)
    assert response.status_code == 200, f"{call.operation}: {explain(response)}"
    page: dict[str, Any] = response.get_json()
    return page


def walk(scene: Scene, call: Call, url: str) -> list[Any]:
    """Return the items of all pages of one item, and read the page before the last one again."""
    page = read(scene, call, f"{url}&limit=1")
    items: list[Any] = page["items"]
    while page["pagination"]["next_cursor"] is not None and len(items) < MAX_ITEMS:
        page = read(scene, call, f"{url}&limit=1&cursor={page['pagination']['next_cursor']}")
        items = items + page["items"]
    if page["pagination"]["prev_cursor"] is not None:
        before = read(scene, call, f"{url}&limit=1&cursor={page['pagination']['prev_cursor']}")
        assert before["items"] == items[-2:-1], f"{call.operation}: the previous page of {url} differs"
    return items


@for_each(lambda operation: operation.endpoint.answer.is_list)
def test_each_filter_has_a_call(operation: Operation) -> None:
    query = operation.endpoint.query
    filters = {*(query.fields if query else ())} - {*OTHERS}
    used = {name for call in operation.successes for name, _ in parse_qsl(call.request.partition("?")[2])}
    assert filters <= used, f"{operation.name}: no call that succeeds has the filters {sorted(filters - used)}"
    assert sorts(operation), f"{operation.name} has no order: its query has no field `sort` of sort_field()"


@for_each(is_list)
def test_a_walk_by_cursor_visits_each_row_once(scene: Scene, operation: Operation) -> None:
    longest = 0
    for call, base in views(scene, operation):
        for sort in sorts(operation):
            url = f"{base}&sort={sort}"
            items = read(scene, call, f"{url}&limit=100")["items"]
            assert walk(scene, call, url) == items, f"{operation.name}: pages of {url} differ from the whole list"
            page = read(scene, call, f"{url}&limit=1&page=1")
            assert page["items"] == items[:1], f"{operation.name}: page 1 of {url} differs from the whole list"
            assert page["pagination"]["total"] == len(items), f"{operation.name}: the total of {url} is wrong"
            backwards = f"{base}&sort={sort[1:] if sort.startswith('-') else f'-{sort}'}"
            assert read(scene, call, f"{backwards}&limit=100")["items"] == items[::-1], f"{operation.name}: {backwards}"
            longest = max(longest, len(items))
    assert longest > 1, f"{operation.name}: the setup creates fewer than two rows of the list"


@for_each(is_list)
def test_each_order_and_filter_reads_an_index(scene: Scene, operation: Operation) -> None:
    faults: dict[str, list[str]] = {}
    tables = {table.name for table in scene.subject.tables}
    for call, base in views(scene, operation):
        for sort in sorts(operation):
            url = f"{base}&sort={sort}"
            with recorded(scene.app, of=tables) as statements:
                walk(scene, call, url)
                read(scene, call, f"{url}&limit=1&page=1")
            with explaining(scene.app) as faults_of:
                wrong = [
                    fault
                    for one in _different(statements)
                    for fault in faults_of(one)
                    # What is read besides the list, such as parts of its rows, is little and may be sorted.
                    if "row_limit" in one.parameters or is_scan(fault)
                ]
            if wrong:
                faults[url] = wrong
    assert not faults, f"{operation.name} reads or sorts the whole table: {faults}"


def _different(statements: list[Statement]) -> list[Statement]:
    """Return each statement once for each set of parameters."""
    return list({(id(one.clause), *one.parameters): one for one in statements}.values())


@for_each(is_list)
def test_the_number_of_statements_does_not_grow_with_the_rows(scene: Scene, operation: Operation) -> None:
    for call, base in views(scene, operation):
        # The first request may fill caches.
        read(scene, call, f"{base}&limit=1")
        few, many = (_statements(scene, call, f"{base}&limit={limit}") for limit in (1, 100))
        assert few >= many, f"{operation.name}: {base} takes {few} statements for one row, and {many} for all"


def _statements(scene: Scene, call: Call, url: str) -> int:
    """Return the number of statements of a request."""
    with counted(scene.app) as statements:
        read(scene, call, url)
    return len(statements)
