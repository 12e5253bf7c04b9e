"""Pagination by cursor and by page number, with the lists of posts and users."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert
from werkzeug.test import TestResponse

from app.api import pagination
from app.components import components_of
from app.database import db
from app.posts.models import Post
from gatepost.testing.rows import count_rows
from gatepost.testing.statements import counted
from tests.conftest import API, Person, problem

POSTS = API + "/posts"
START = datetime(2026, 1, 1, tzinfo=UTC)
SORTS = [sign + key for key in ("published_at", "created_at", "updated_at", "title") for sign in ("", "-")]
Fill = Callable[..., None]


@pytest.fixture
def fill(app: Flask, alice: Person) -> Fill:
    """Return a function that inserts posts by Alice, in groups of `same` posts with equal sort keys."""

    def add(count: int, same: int = 1, *, first: int = 0, status: str = "published") -> None:
        moments = [START + timedelta(seconds=(first + number) // same) for number in range(count)]
        rows = [
            {
                "author_id": alice.id,
                "title": f"{moment:%H:%M:%S}",
                "content": "x",
                "status": status,
                "created_at": moment,
                "updated_at": moment,
                "published_at": moment,
            }
            for moment in moments
        ]
        with app.app_context(), db.engine.begin() as connection:
            connection.execute(insert(Post), rows)

    return add


def ids(response: TestResponse) -> list[int]:
    """Return the ids of a page, in order."""
    assert response.status_code == 200, response.text
    return [item["id"] for item in response.get_json()["items"]]


def links(response: TestResponse) -> dict[str, str]:
    """Return the URLs of a Link header by relation."""
    return {rel: url for url, rel in re.findall(r'<([^>]*)>; rel="([a-z]+)"', response.headers.get("Link", ""))}


def walk(client: FlaskClient, url: str, relation: str = "next") -> list[TestResponse]:
    """Return the pages from `url` on, following one relation."""
    pages = [client.get(url)]
    while relation in links(pages[-1]):
        pages.append(client.get(links(pages[-1])[relation]))
        assert len(pages) < 100
    return pages


def flat(pages: list[TestResponse]) -> list[int]:
    """Return the ids of several pages."""
    return [post_id for page in pages for post_id in ids(page)]


def cursor_of(client: FlaskClient, query: str) -> str:
    """Return the next_cursor of a page."""
    return str(client.get(f"{POSTS}?{query}").get_json()["pagination"]["next_cursor"])


def refuse_cursor(response: TestResponse) -> None:
    """Check that the cursor of this request was refused. The message is the same for every reason."""
    assert problem(response) == (422, "validation_error")
    errors = {"cursor": ["Not a cursor of this list with this sort and these filters."]}
    assert response.get_json()["errors"] == errors


# Cursors


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("same", [1, 3, 11])
def test_a_walk_meets_every_row_once_there_and_back(client: FlaskClient, fill: Fill, sort: str, same: int) -> None:
    fill(11, same)
    whole = ids(client.get(f"{POSTS}?sort={sort}&limit=100"))
    assert len(whole) == 11
    pages = walk(client, f"{POSTS}?sort={sort}&limit=3")
    assert flat(pages) == whole
    assert [len(ids(page)) for page in pages] == [3, 3, 3, 2]
    back = walk(client, links(pages[-1])["prev"], "prev")
    assert [ids(page) for page in back] == [ids(page) for page in pages[-2::-1]]


def test_rows_tied_in_the_sort_key_are_ordered_by_id_in_the_same_direction(client: FlaskClient, fill: Fill) -> None:
    fill(5, same=5)
    ascending = ids(client.get(f"{POSTS}?sort=title"))
    assert ascending == sorted(ascending)
    assert ids(client.get(f"{POSTS}?sort=-title")) == ascending[::-1]


def test_the_envelope_and_the_link_header_agree(client: FlaskClient, fill: Fill) -> None:
    fill(5)
    first = client.get(f"{POSTS}?limit=2")
    middle = client.get(links(first)["next"])
    last = client.get(links(middle)["next"])
    for page, relations in ((first, {"next"}), (middle, {"next", "prev"}), (last, {"prev"})):
        assert links(page).keys() == relations
        shown = page.get_json()["pagination"]
        assert list(shown) == ["limit", "next_cursor", "prev_cursor"]
        for relation in ("next", "prev"):
            url = links(page).get(relation)
            assert shown[f"{relation}_cursor"] == (parse_qs(urlsplit(url).query)["cursor"][0] if url else None)


def test_links_are_relative_and_keep_the_query(client: FlaskClient, fill: Fill, alice: Person) -> None:
    fill(3)
    query = f"limit=1&sort=title&author_id={alice.id}&created_after=2025-01-01T00%3A00%3A00Z"
    response = client.get(f"{POSTS}?{query}", headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    url = links(response)["next"]
    assert url.startswith(f"{POSTS}?{query}&cursor=")
    assert "evil" not in response.headers["Link"]


def test_a_page_that_ends_exactly_with_the_list_is_the_last(client: FlaskClient, fill: Fill) -> None:
    fill(4)
    pages = walk(client, f"{POSTS}?limit=2")
    assert [len(ids(page)) for page in pages] == [2, 2]


def test_rows_that_arrive_or_leave_move_no_other(app: Flask, client: FlaskClient, fill: Fill, alice: Person) -> None:
    fill(9, same=2)
    whole = ids(client.get(f"{POSTS}?sort=created_at"))
    first = client.get(f"{POSTS}?sort=created_at&limit=3")
    # Delete a row before the cursor, at it, and after it; insert rows with equal sort keys.
    alice.delete(f"/posts/{whole[0]}")
    alice.delete(f"/posts/{whole[2]}")
    alice.delete(f"/posts/{whole[5]}")
    fill(1, first=0)
    fill(1, first=8)
    newest = max(ids(client.get(POSTS)))
    rest = flat(walk(client, links(first)["next"]))
    assert set(rest) == {*whole[3:5], *whole[6:], newest}
    assert len(rest) == len(set(rest))


def test_a_walk_back_sees_what_arrived_behind_it(client: FlaskClient, fill: Fill) -> None:
    fill(4, first=1)
    first = client.get(f"{POSTS}?sort=created_at&limit=2")
    second = client.get(links(first)["next"])
    fill(1, first=0)
    back = client.get(links(second)["prev"])
    assert ids(back) == ids(first)
    assert ids(client.get(links(back)["prev"])) == [max(ids(client.get(POSTS)))]


@pytest.mark.parametrize("sort", ["created_at", "-created_at"])
@pytest.mark.parametrize("direction", ["next", "prev"])
def test_a_cursor_whose_rows_are_gone_gives_an_empty_page_that_leads_back(
    client: FlaskClient, fill: Fill, alice: Person, direction: str, sort: str
) -> None:
    fill(6, same=3)
    first = client.get(f"{POSTS}?limit=3&sort={sort}")
    second = client.get(links(first)["next"])
    url = links(first)["next"] if direction == "next" else links(second)["prev"]
    gone, left = (ids(second), ids(first)) if direction == "next" else (ids(first), ids(second))
    for post_id in gone:
        alice.delete(f"/posts/{post_id}")
    response = client.get(url)
    other = {"next": "prev", "prev": "next"}[direction]
    assert ids(response) == []
    shown = response.get_json()["pagination"]
    assert shown.pop(f"{other}_cursor")
    assert shown == {"limit": 3, f"{direction}_cursor": None}
    # Includes the row that the cursor was made from.
    assert ids(client.get(links(response)[other])) == left


def test_a_cursor_leads_back_when_its_own_row_is_gone_too(client: FlaskClient, fill: Fill, alice: Person) -> None:
    fill(6)
    first = client.get(f"{POSTS}?limit=3")
    for post_id in ids(client.get(POSTS))[2:]:
        alice.delete(f"/posts/{post_id}")
    empty = client.get(links(first)["next"])
    assert ids(empty) == []
    assert links(empty).keys() == {"prev"}
    assert ids(client.get(links(empty)["prev"])) == ids(first)[:2]


def test_a_cursor_leads_back_only_to_what_the_filters_let_through(
    client: FlaskClient, fill: Fill, alice: Person
) -> None:
    fill(4)
    fill(1, first=-5)
    fill(1, first=5)
    query = "sort=title&created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T00:00:04Z&limit=2"
    first = client.get(f"{POSTS}?{query}")
    second = client.get(links(first)["next"])
    assert len(ids(first) + ids(second)) == 3
    alice.delete(f"/posts/{ids(second)[0]}")
    empty = client.get(links(first)["next"])
    assert ids(client.get(links(empty)["prev"])) == ids(first)
    for post_id in ids(first):
        alice.delete(f"/posts/{post_id}")
    empty = client.get(links(first)["next"])
    assert (ids(empty), links(empty)) == ([], {})
    assert len(ids(client.get(POSTS))) == 3


@pytest.mark.parametrize("direction", ["next", "prev"])
def test_a_cursor_of_a_list_that_is_empty_now_leads_nowhere(
    client: FlaskClient, fill: Fill, alice: Person, direction: str
) -> None:
    fill(3)
    page = client.get(f"{POSTS}?limit=1")
    if direction == "prev":
        page = client.get(links(page)["next"])
    for post_id in ids(client.get(POSTS)):
        alice.delete(f"/posts/{post_id}")
    response = client.get(links(page)[direction])
    assert response.get_json() == {"items": [], "pagination": {"limit": 1, "next_cursor": None, "prev_cursor": None}}
    assert "Link" not in response.headers


def test_the_limit_may_change_on_the_way(client: FlaskClient, fill: Fill) -> None:
    fill(5)
    cursor = cursor_of(client, "limit=2")
    assert len(ids(client.get(f"{POSTS}?limit=100&cursor={cursor}"))) == 3


def test_the_defaults_may_be_spelt_out_on_the_way(client: FlaskClient, fill: Fill) -> None:
    fill(3)
    cursor = cursor_of(client, "limit=2")
    assert len(ids(client.get(f"{POSTS}?sort=-published_at&cursor={cursor}"))) == 1


def test_a_cursor_is_good_with_and_without_contents(client: FlaskClient, fill: Fill) -> None:
    fill(3)
    cursor = cursor_of(client, "limit=2")
    assert ids(client.get(f"{POSTS}?include=content&cursor={cursor}")) == ids(client.get(f"{POSTS}?cursor={cursor}"))


@pytest.mark.parametrize(
    "other",
    [
        *("sort=created_at", "sort=-title", "author_id=1", "status=published", "created_after=2020-01-01T00:00:00Z"),
        "created_before=2030-01-01T00:00:00Z",
        "published_after=2020-01-01T00:00:00Z",
        "published_before=2030-01-01T00:00:00Z",
        "updated_after=2020-01-01T00:00:00Z",
        "updated_before=2030-01-01T00:00:00Z",
    ],
)
def test_a_cursor_is_bound_to_sort_and_filters(client: FlaskClient, fill: Fill, other: str) -> None:
    fill(3)
    assert client.get(f"{POSTS}?{other}&limit=1").status_code == 200
    refuse_cursor(client.get(f"{POSTS}?{other}&cursor={cursor_of(client, 'limit=1')}"))
    refuse_cursor(client.get(f"{POSTS}?cursor={cursor_of(client, f'limit=1&{other}')}"))


def test_a_cursor_is_bound_to_its_list(client: FlaskClient, fill: Fill, alice: Person, bob: Person) -> None:
    fill(3)
    cursor = cursor_of(client, "limit=1")
    refuse_cursor(client.get(f"{API}/users/{alice.id}/posts?cursor={cursor}"))
    own = client.get(f"{API}/users/{alice.id}/posts?limit=1").get_json()["pagination"]["next_cursor"]
    refuse_cursor(client.get(f"{API}/users/{bob.id}/posts?cursor={own}"))
    refuse_cursor(client.get(f"{POSTS}?cursor={own}"))
    refuse_cursor(alice.get(f"/users?cursor={cursor}"))


OTHERS = ["*", "0", "e30=", "%2B%2F%2B%2F", "%27%20OR%201=1--", "gASVCgAAAAAAAAB9lC4", "%7B%22id%22:0%7D"]


@pytest.mark.parametrize(
    "text", ["", "x", "%00", "é", "....", "null", "A" * 24, "A" * 7000, "=", "AAAA=", "W10=", *OTHERS]
)
def test_a_text_that_is_no_cursor_is_refused(client: FlaskClient, app: Flask, text: str) -> None:
    refuse_cursor(client.get(f"{POSTS}?cursor={quote(text, safe='%')}"))


def test_a_cursor_with_any_character_changed(client: FlaskClient, fill: Fill) -> None:
    fill(2)
    cursor = cursor_of(client, "limit=1")
    for place, character in enumerate(cursor):
        other = "A" if character != "A" else "B"
        refuse_cursor(client.get(POSTS, query_string={"cursor": cursor[:place] + other + cursor[place + 1 :]}))
    for text in (cursor[:-1], cursor + "A", cursor + "=", cursor + "==", " " + cursor, cursor + "\n", cursor * 2):
        refuse_cursor(client.get(POSTS, query_string={"cursor": text}))


def test_a_cursor_has_one_spelling(client: FlaskClient, fill: Fill) -> None:
    """The last character of base64 has unused bits. A cursor with other values of them is refused."""
    fill(2)
    cursor = cursor_of(client, "limit=1")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    accepted = [c for c in alphabet if client.get(f"{POSTS}?cursor={cursor[:-1]}{c}").status_code == 200]
    assert accepted == [cursor[-1]]


def test_a_cursor_with_a_forged_place(client: FlaskClient, fill: Fill) -> None:
    fill(2)
    raw = base64.urlsafe_b64decode(cursor_of(client, "limit=1") + "==")
    forged = base64.urlsafe_b64encode(raw[:16] + b'["2000-01-01T00:00:00+00:00",1,false]').decode().rstrip("=")
    refuse_cursor(client.get(f"{POSTS}?cursor={forged}"))


@pytest.mark.parametrize("title", ["Ärger", "😀" * 200, "a'b\"c\\d%_", "a\u2028", "e\u0301", "￿"])
def test_any_title_makes_a_cursor(client: FlaskClient, alice: Person, title: str) -> None:
    for _ in range(3):
        alice.post("/posts", json={"title": title, "content": "x"})
    assert len(flat(walk(client, f"{POSTS}?sort=title&limit=1"))) == 3


def test_drafts_are_walked_like_the_rest(alice: Person, fill: Fill) -> None:
    fill(3, status="draft")
    first = alice.get("/posts?status=draft&limit=2")
    rest = alice.client.get(links(first)["next"], headers=alice.headers)
    assert len(ids(first)) + len(ids(rest)) == 3
    refuse_cursor(alice.get("/posts?cursor=" + first.get_json()["pagination"]["next_cursor"]))


def test_users_are_walked_by_name_and_by_age(alice: Person, bob: Person, carol: Person) -> None:
    for sort, expected in (("name", [1, 2, 3]), ("-name", [3, 2, 1]), ("created_at", [1, 2, 3])):
        url, seen = f"{API}/users?sort={sort}&limit=1", []
        while url:
            page = alice.client.get(url, headers=alice.headers)
            seen += ids(page)
            url = links(page).get("next", "")
        assert seen == expected


def test_a_cursor_page_is_never_counted(app: Flask, client: FlaskClient, fill: Fill) -> None:
    fill(30)
    with counted(app) as statements:
        walk(client, f"{POSTS}?limit=10")
    assert len(statements) == 3
    assert not [statement for statement in statements if "count(" in statement.lower()]


# Pages


def test_pages_are_numbered_and_counted(client: FlaskClient, fill: Fill) -> None:
    fill(5)
    pages = [client.get(f"{POSTS}?limit=2&page={number}") for number in (1, 2, 3)]
    assert flat(pages) == ids(client.get(POSTS))
    for number, page in enumerate(pages, 1):
        assert page.get_json()["pagination"] == {"limit": 2, "page": number, "pages": 3, "total": 5}


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        (1, {"first": 1, "last": 3, "next": 2}),
        (2, {"first": 1, "last": 3, "next": 3, "prev": 1}),
        (3, {"first": 1, "last": 3, "prev": 2}),
        (9, {"first": 1, "last": 3, "prev": 3}),
    ],
)
def test_pages_are_linked(client: FlaskClient, fill: Fill, page: int, expected: dict[str, int]) -> None:
    fill(5)
    response = client.get(f"{POSTS}?limit=2&page={page}&sort=title")
    assert links(response) == {
        relation: f"{POSTS}?limit=2&sort=title&page={number}" for relation, number in expected.items()
    }


@pytest.mark.parametrize(("count", "page", "pages"), [(3, 2, 1), (0, 1, 0)], ids=["past the end", "of an empty list"])
def test_a_page_without_rows(client: FlaskClient, fill: Fill, count: int, page: int, pages: int) -> None:
    if count:
        fill(count)
    response = client.get(f"{POSTS}?page={page}")
    pagination = {"limit": 20, "page": page, "pages": pages, "total": count}
    assert response.get_json() == {"items": [], "pagination": pagination}
    assert {"first", "last"} <= links(response).keys() <= {"first", "last", *(["prev"] if count else [])}


def test_pages_count_what_the_filters_let_through(client: FlaskClient, fill: Fill, alice: Person, bob: Person) -> None:
    fill(3)
    fill(2, status="draft")
    assert client.get(f"{POSTS}?page=1").get_json()["pagination"]["total"] == 3
    assert alice.get("/posts?page=1&status=draft").get_json()["pagination"]["total"] == 2
    assert client.get(f"{POSTS}?page=1&author_id={bob.id}").get_json()["pagination"]["total"] == 0


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("page=500", 200),
        ("page=501", 422),
        ("page=100&limit=100", 200),
        ("page=101&limit=100", 422),
        ("page=10000&limit=1", 200),
        ("page=10001&limit=1", 422),
        ("page=1429&limit=7", 200),
        ("page=1430&limit=7", 422),
        (f"page={2**63 - 1}&limit=100", 422),
    ],
)
def test_pages_end_at_row_10000(client: FlaskClient, app: Flask, query: str, status: int) -> None:
    response = client.get(f"{POSTS}?{query}")
    assert response.status_code == status
    if status == 422:
        text = "Pages end at row 10000. Use cursors to read further."
        assert response.get_json()["errors"] == {"page": [text]}


def test_no_link_leads_to_a_page_that_is_refused(
    client: FlaskClient, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "MAX_OFFSET", 4)
    # Otherwise the result of validating a query string is cached.
    monkeypatch.setattr("app.api.endpoint.CACHED_QUERY_LENGTH", -1)
    fill(7)
    second = client.get(f"{POSTS}?limit=2&page=2")
    assert second.get_json()["pagination"] == {"limit": 2, "page": 2, "pages": 2, "total": 4, "total_capped": True}
    assert links(second).keys() == {"first", "prev"}
    assert client.get(f"{POSTS}?limit=2&page=3").status_code == 422
    assert links(client.get(f"{POSTS}?limit=2&page=1")).keys() == {"first", "next"}


def test_page_and_cursor_exclude_each_other(client: FlaskClient, fill: Fill) -> None:
    fill(3)
    response = client.get(f"{POSTS}?limit=1&page=1&cursor={cursor_of(client, 'limit=1')}")
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"] == {"page": ["Give page or cursor, not both."]}


# Limits


@pytest.mark.parametrize(("limit", "items"), [("1", 1), ("20", 20), ("100", 100), ("", 20), ("007", 7)])
def test_a_page_has_at_most_limit_items(client: FlaskClient, fill: Fill, limit: str, items: int) -> None:
    fill(101)
    response = client.get(f"{POSTS}?limit={limit}" if limit else POSTS)
    assert len(ids(response)) == response.get_json()["pagination"]["limit"] == items


@pytest.mark.parametrize("name", ["limit", "page"])
@pytest.mark.parametrize(
    "value",
    [
        *("0", "-1", "-0", "", "x", "1.0", "1e1", "+1", "%2B1", "%20", "%201", "1%20", "%2020", "0x1", "٣", "１", "²"),
        *("1_0", "None", "null", "true", "NaN", "1%00", "%001", "1%0a", "1;2", "1,2", "1%20OR%201=1", "[1]", "{}"),
        *(str(2**31), str(2**63), "9" * 30, "9" * 5000, "-" + "9" * 30),
    ],
    ids=lambda value: value[:12],
)
def test_numbers_are_positive_decimal_integers(client: FlaskClient, app: Flask, name: str, value: str) -> None:
    response = client.get(f"{POSTS}?{name}={quote(value, safe='%+')}")
    assert problem(response) == (422, "validation_error")
    assert list(response.get_json()["errors"]) == [name]


def test_a_limit_ends_at_100(client: FlaskClient, app: Flask) -> None:
    response = client.get(f"{POSTS}?limit=101")
    assert response.get_json()["errors"] == {"limit": ["Must be 1 to 100."]}


@pytest.mark.parametrize("query", ["limit=5&limit=5", "page=1&page=2", "cursor=a&cursor=a"])
def test_no_parameter_repeats(client: FlaskClient, app: Flask, query: str) -> None:
    response = client.get(f"{POSTS}?{query}")
    assert response.get_json()["errors"] == {query.partition("=")[0]: ["Given more than once."]}


# Conditional requests


@pytest.mark.parametrize("query", ["", "?page=1", "?limit=1"])
def test_a_list_that_has_not_changed_is_not_sent_again(client: FlaskClient, fill: Fill, query: str) -> None:
    fill(3)
    first = client.get(POSTS + query)
    tag = first.headers["ETag"]
    assert tag.startswith('W/"')
    again = client.get(POSTS + query, headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b"")
    for name in ("ETag", "Cache-Control", "Link"):
        assert again.headers.get(name) == first.headers.get(name)
    fill(1, first=-1)
    changed = client.get(POSTS + query, headers={"If-None-Match": tag})
    assert changed.status_code == (304 if query == "?limit=1" else 200)


def test_nothing_is_written_by_reading(app: Flask, client: FlaskClient, fill: Fill) -> None:
    fill(3)
    walk(client, f"{POSTS}?limit=1")
    assert count_rows(app, Post) == 3


def test_a_cursor_of_an_older_secret_still_works(client: FlaskClient, app: Flask, fill: Fill, backend: str) -> None:
    from app.security.keyed_hashes import KeyedHasher
    from tests.conftest import settings_for

    fill(3)
    cursor = cursor_of(client, "limit=1")
    old = components_of(app).settings
    key = "another-key-for-the-tests-0123456789"
    signers: dict[str, Any] = {
        "kept": KeyedHasher(
            settings_for(old.database_url, jwt_secret_key=key, jwt_previous_secret_keys=(old.jwt_secret_key,))
        ),
        "gone": KeyedHasher(settings_for(old.database_url, jwt_secret_key=key)),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components_of(app), "keyed_hasher", signers["kept"])
        assert client.get(f"{POSTS}?cursor={cursor}").status_code == 200
        patch.setattr(components_of(app), "keyed_hasher", signers["gone"])
        refuse_cursor(client.get(f"{POSTS}?cursor={cursor}"))
