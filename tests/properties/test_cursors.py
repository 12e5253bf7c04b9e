"""Property tests of cursors: the pages of a list contain all rows in order, and no other cursor is accepted."""

from __future__ import annotations

import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from app.database import db
from app.posts.models import Post
from tests.conftest import API, Person, problem
from tests.properties.examples import examples

START = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = ("created_at", "updated_at", "title")
SORTS = st.sampled_from([sign + key for key in KEYS for sign in ("", "-")])
# Few values, so that many rows have equal sort keys; with microseconds, which a cursor must preserve.
MOMENTS = st.sampled_from([0, 1, 2, 999_999, 1_000_000]).map(lambda us: START + timedelta(microseconds=us))
TITLES = st.sampled_from(["a", "A", "b", "é", "ab", "\U0001f9ff", "\uff5e", "z"]) | st.text(
    st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=4
)
ROWS = st.lists(
    st.fixed_dictionaries({"created_at": MOMENTS, "updated_at": MOMENTS, "title": TITLES}), min_size=1, max_size=9
)
Fill = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.fixture
def fill(app: Flask, alice: Person) -> Fill:
    """Return a function that replaces all posts by these rows, and returns them with their ids."""

    def replace(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        common = {"author_id": alice.id, "content": "x", "status": "published"}
        with app.app_context(), db.engine.begin() as connection:
            connection.execute(delete(Post))
            values = [{**common, **row, "published_at": row["created_at"]} for row in rows]
            ids = [connection.execute(insert(Post).values(v).returning(Post.id)).scalar_one() for v in values]
        return [{**row, "id": post_id} for row, post_id in zip(rows, ids, strict=True)]

    return replace


def page(client: FlaskClient, **query: Any) -> tuple[list[int], dict[str, Any]]:
    """Return the ids and the pagination of a page."""
    response = client.get(f"{API}/posts?{urlencode(query)}")
    assert response.status_code == 200, response.text
    document = response.get_json()
    return [item["id"] for item in document["items"]], document["pagination"]


@examples(20)
@given(ROWS, SORTS, st.lists(st.integers(1, 4), min_size=9, max_size=9))
def test_a_walk_is_the_list_in_its_order_there_and_back(
    fill: Fill, client: FlaskClient, rows: list[dict[str, Any]], sort: str, limits: list[int]
) -> None:
    key = sort.removeprefix("-")
    ordered = sorted(fill(rows), key=lambda row: (row[key], row["id"]), reverse=sort.startswith("-"))
    wanted = [row["id"] for row in ordered]
    # Each page has another size. There are at most as many pages as rows.
    items, pagination = page(client, sort=sort, limit=limits[0])
    seen = items
    for limit in limits[1:]:
        if pagination["next_cursor"]:
            items, pagination = page(client, sort=sort, limit=limit, cursor=pagination["next_cursor"])
            seen = seen + items
    assert seen == wanted
    assert pagination["next_cursor"] is None
    last = len(items)
    back: list[int] = []
    for limit in limits:
        if pagination["prev_cursor"]:
            items, pagination = page(client, sort=sort, limit=limit, cursor=pagination["prev_cursor"])
            back = items + back
    assert back == wanted[: len(wanted) - last]
    assert pagination["prev_cursor"] is None


CHARACTERS = st.sampled_from(string.ascii_letters + string.digits + "-_=+/ é")


def changed(text: str, place: int, other: str, how: str) -> str:
    """Return the text with a character replaced or inserted, or cut off."""
    head, tail = text[: place % len(text)], text[place % len(text) :]
    result = {"replaced": head + other + tail[1:], "cut": head, "inserted": head + other + tail}[how]
    return result if result != text else text + other


@examples(60)
@given(st.integers(0, 200), CHARACTERS, st.sampled_from(["replaced", "cut", "inserted"]))
def test_a_cursor_that_was_changed_is_none(fill: Fill, client: FlaskClient, place: int, other: str, how: str) -> None:
    fill([{"created_at": START, "updated_at": START, "title": "a"}] * 3)
    refuse(client, changed(str(page(client, limit=1)[1]["next_cursor"]), place, other, how))


@examples(60)
@given(st.text(st.characters(codec="utf-8"), max_size=80))
def test_a_text_is_no_cursor(client: FlaskClient, text: str) -> None:
    refuse(client, text)


def refuse(client: FlaskClient, cursor: str) -> None:
    """Check that the cursor is refused with 422."""
    response = client.get(f"{API}/posts?{urlencode({'cursor': cursor})}")
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"].keys() == {"cursor"}


QUERIES = st.fixed_dictionaries(
    {},
    optional={
        "sort": SORTS,
        "author_id": st.integers(1, 3),
        "created_after": st.sampled_from(["2025-01-01T00:00:00Z", "2025-01-01T00:00:01Z"]),
    },
)


@examples(40)
@given(QUERIES, QUERIES, st.integers(1, 5))
def test_a_cursor_is_good_for_its_own_list_alone(
    fill: Fill, alice: Person, client: FlaskClient, own: dict[str, Any], other: dict[str, Any], limit: int
) -> None:
    fill([{"created_at": START, "updated_at": START, "title": "a"}] * 3)
    own = own | ({"author_id": alice.id} if "author_id" in own else {})
    cursor = page(client, limit=1, **own)[1]["next_cursor"]
    response = client.get(f"{API}/posts?{urlencode(other | {'cursor': cursor, 'limit': limit})}")
    default = {"sort": "-published_at"}
    is_same = default | own == default | other
    assert response.status_code == (200 if is_same else 422)
