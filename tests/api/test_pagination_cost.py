"""What a page of a list may cost: it counts and tests a bounded number of rows, whatever the filters are."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.api import pagination
from app.api.pagination import statements
from app.database import fetch_all
from gatepost.testing.statements import counted
from tests.api.test_pagination import POSTS, Fill, fill, flat, ids, links, walk
from tests.conftest import API, Person, problem

__all__ = ["fill"]
FROM_SECOND_3 = "created_after=2026-01-01T00:00:02Z"
UNTIL_SECOND_3 = "created_before=2026-01-01T00:00:04Z"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lower the numbers of rows that are counted and tested, so that ten rows are many."""
    monkeypatch.setattr(pagination, "MAX_OFFSET", 6)
    monkeypatch.setattr(statements, "MAX_TESTED", 4)
    # Otherwise the result of validating a query string is cached.
    monkeypatch.setattr("app.api.endpoint.CACHED_QUERY_LENGTH", -1)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (5, {"pages": 3, "total": 5}),
        (6, {"pages": 3, "total": 6}),
        (7, {"pages": 3, "total": 6, "total_capped": True}),
        (12, {"pages": 3, "total": 6, "total_capped": True}),
    ],
)
def test_the_count_ends_and_says_so(
    client: FlaskClient, fill: Fill, small: None, rows: int, expected: dict[str, object]
) -> None:
    fill(rows)
    pages = [client.get(f"{POSTS}?limit=2&page={number}") for number in (1, 2, 3)]
    assert flat(pages) == ids(client.get(POSTS))[:6]
    for number, page in enumerate(pages, 1):
        assert page.get_json()["pagination"] == {"limit": 2, "page": number, **expected}
    assert ("last" in links(pages[0])) == ("total_capped" not in expected)
    assert "next" not in links(pages[2])


def test_the_count_reads_the_bare_table_and_the_page_joins_its_own_rows_only(
    app: Flask, client: FlaskClient, fill: Fill
) -> None:
    fill(3)
    with counted(app) as seen:
        client.get(f"{POSTS}?page=1")
    count, page = [statement.lower() for statement in seen]
    assert "count(" in count
    assert "from posts" in count
    assert "join" not in count
    assert "limit" in count
    assert "offset" in page[page.index("in (select") :]


def test_the_count_stops_one_row_after_the_last_that_pages_reach(
    client: FlaskClient, fill: Fill, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(12)
    results = []

    def note(statement: Any, **parameters: Any) -> Any:
        rows = fetch_all(statement, **parameters)
        results.append(rows)
        return rows

    monkeypatch.setattr(pagination, "fetch_all", note)
    client.get(f"{POSTS}?page=1&limit=2")
    [[(count,)], page] = results
    assert (count, len(page)) == (7, 2)


@pytest.mark.parametrize(
    "path",
    ["/users", "/users/{id}/posts", "/audit", "/auth/events", "/auth/sessions", "/posts", "/users/{id}/sessions"],
)
def test_every_list_counts_a_bounded_number_of_rows(app: Flask, carol: Person, path: str) -> None:
    with counted(app) as seen:
        response = carol.get(path.format(id=carol.id) + "?page=1")
    assert response.status_code == 200
    [count] = [statement.lower() for statement in seen if "count(" in statement.lower()]
    assert "join" not in count
    assert "limit" in count


def test_a_filter_in_another_order_walks_every_row_once(client: FlaskClient, fill: Fill, small: None) -> None:
    """Neither index finds few rows, so that pages end early, and each leads on to the next."""
    fill(12)
    expected = ids(client.get(f"{POSTS}?sort=created_at&{FROM_SECOND_3}&limit=100"))
    assert len(expected) == 9
    for sort in ("title", "-title"):
        pages = walk(client, f"{POSTS}?sort={sort}&{FROM_SECOND_3}&limit=3")
        assert flat(pages) == (expected if sort == "title" else expected[::-1])
        back = walk(client, links(pages[-1])["prev"], "prev")
        assert sorted(flat(back)) == sorted(flat(pages[:-1]))
    assert [len(ids(page)) for page in walk(client, f"{POSTS}?sort=title&{FROM_SECOND_3}&limit=100")] == [2, 5, 2]


def test_a_filter_that_finds_few_rows_is_used_to_find_them(client: FlaskClient, fill: Fill, small: None) -> None:
    fill(12)
    for sort in ("title", "-title"):
        [page] = walk(client, f"{POSTS}?sort={sort}&{UNTIL_SECOND_3}&limit=20")
        assert len(ids(page)) == 4
    pages = walk(client, f"{POSTS}?sort=-title&{UNTIL_SECOND_3}&limit=3")
    assert [len(ids(page)) for page in pages] == [3, 1]
    numbered = client.get(f"{POSTS}?sort=-title&{UNTIL_SECOND_3}&limit=3&page=2")
    assert numbered.get_json()["pagination"] == {"limit": 3, "page": 2, "pages": 2, "total": 4}
    assert ids(numbered) == ids(pages[1])


def test_numbered_pages_end_where_rows_are_no_longer_tested(client: FlaskClient, fill: Fill, small: None) -> None:
    fill(12)
    query = f"sort=title&{FROM_SECOND_3}&limit=1"
    pages = [client.get(f"{POSTS}?{query}&page={number}") for number in (1, 2)]
    assert flat(pages) == ids(client.get(f"{POSTS}?{query.replace('limit=1', 'limit=2')}"))
    for page in pages:
        assert {"pages": 2, "total": 2, "total_capped": True}.items() <= page.get_json()["pagination"].items()
    refused = client.get(f"{POSTS}?{query}&page=3")
    assert problem(refused) == (422, "validation_error")
    assert refused.get_json()["errors"] == {"page": [pagination.USE_CURSORS]}


def test_a_search_tests_a_bounded_number_of_users(carol: Person, alice: Person, bob: Person, small: None) -> None:
    for name in ("Dora", "Emil", "Fred", "Greta", "Zora"):
        carol.post("/users", json={"email": f"{name}@example.com", "name": name, "password": "correct horse battery"})
    url, found = f"{API}/users?q=ora&sort=name", []
    while url:
        page = alice.client.get(url, headers=alice.headers)
        found += [item["name"] for item in page.get_json()["items"]]
        url = links(page).get("next", "")
    assert found == ["Dora", "Zora"]
    # Page 2 would need the other half of the table.
    assert problem(alice.get("/users?q=ora&sort=name&page=2&limit=1")) == (422, "validation_error")
    # The first page exists, even if no tested row is found.
    first = alice.get("/users?q=zzzz&sort=name&page=1&limit=1").get_json()
    assert first["items"] == []
    assert {"page": 1, "pages": 0, "total": 0, "total_capped": True}.items() <= first["pagination"].items()
