"""GET /posts: visibility, order and filters. Pagination is tested in tests/api/test_pagination.py."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from gatepost.testing.statements import counted
from tests.conftest import API, Cast, Clock, Person, problem
from tests.posts.conftest import Write, as_listed


def titles(response: TestResponse) -> list[str]:
    """Return the titles of a list, in order."""
    assert response.status_code == 200, response.text
    return [item["title"] for item in response.get_json()["items"]]


def test_an_empty_list(client: FlaskClient, app: Flask) -> None:
    response = client.get(API + "/posts")
    assert response.get_json() == {
        "items": [],
        "pagination": {"limit": 20, "next_cursor": None, "prev_cursor": None},
    }
    assert "Link" not in response.headers


def test_anyone_lists_published_posts_newest_first(
    client: FlaskClient, alice: Person, bob: Person, write: Write
) -> None:
    posts = [write(alice, title="a"), write(bob, title="b"), write(alice, title="c")]
    write(alice, status="draft")
    response = client.get(API + "/posts")
    assert response.get_json()["items"] == [as_listed(post) for post in posts[::-1]]
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["ETag"].startswith('W/"')
    assert "Authorization" in response.vary


def test_a_signed_in_caller_s_list_is_not_for_caches(alice: Person, write: Write) -> None:
    write(alice)
    assert alice.get("/posts").headers["Cache-Control"] == "no-store"


def test_drafts_are_listed_for_their_author_alone(
    client: FlaskClient, alice: Person, bob: Person, carol: Person, write: Write
) -> None:
    write(alice, title="hers", status="draft")
    write(bob, title="his", status="draft")
    assert titles(alice.get("/posts?status=draft")) == ["hers"]
    assert titles(carol.get("/posts?status=draft")) == []
    assert titles(bob.get(f"/posts?status=draft&author_id={alice.id}")) == []
    for caller in (alice, bob, carol):
        assert titles(caller.get("/posts")) == titles(caller.get("/posts?status=published")) == []
    response = client.get(API + "/posts?status=draft")
    assert problem(response) == (401, "authentication_required")
    assert "WWW-Authenticate" in response.headers


def test_posts_of_one_author(client: FlaskClient, alice: Person, bob: Person, write: Write) -> None:
    write(alice, title="hers")
    write(bob, title="his")
    assert titles(client.get(f"{API}/posts?author_id={bob.id}")) == ["his"]
    for unknown in (999, 2**63 - 1):
        assert titles(client.get(f"{API}/posts?author_id={unknown}")) == []


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("created_at", "bca"),
        ("-created_at", "acb"),
        ("updated_at", "acb"),
        ("-updated_at", "bca"),
        ("published_at", "bac"),
        ("-published_at", "cab"),
        ("title", "abc"),
        ("-title", "cba"),
    ],
)
def test_every_sort_key_goes_both_ways(
    client: FlaskClient, alice: Person, write: Write, clock: Clock, sort: str, expected: str
) -> None:
    posts = {}
    for title in "bca":
        posts[title] = write(alice, title=title, status="draft" if title == "c" else "published")
        clock.forward(seconds=1)
    alice.patch(f"/posts/{posts['c']['id']}", json={"status": "published"})
    clock.forward(seconds=1)
    alice.patch(f"/posts/{posts['b']['id']}", json={"content": "edited"})
    assert "".join(titles(client.get(f"{API}/posts?sort={sort}"))) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("created_after=2026-01-01T00:00:00Z", "cb"),
        ("created_after=2025-12-31T23:59:59.999999Z", "cba"),
        ("created_before=2026-01-01T00:00:02Z", "ba"),
        ("created_before=2026-01-01T00:00:02.000001Z", "cba"),
        ("created_after=2026-01-01T00:00:00Z&created_before=2026-01-01T00:00:02Z", "b"),
        ("created_after=2026-01-01T00:00:02Z&created_before=2026-01-01T00:00:00Z", ""),
        ("created_after=2026-01-01T02:00:00%2B02:00", "cb"),
        ("created_after=2025-12-31T18:30:00-05:30", "cb"),
        ("created_after=2026-01-01t00:00:00z", "cb"),
        ("created_after=2026-01-01T00:00:00.0000009Z", "cb"),
        ("created_after=0001-01-01T00:00:00Z", "cba"),
        ("created_before=9999-12-31T23:59:59.999999Z", "cba"),
    ],
)
def test_posts_of_a_time(
    client: FlaskClient, alice: Person, write: Write, clock: Clock, query: str, expected: str
) -> None:
    clock.now = datetime(2026, 1, 1, tzinfo=UTC)
    for title in "abc":
        write(alice, title=title)
        clock.forward(seconds=1)
    assert "".join(titles(client.get(f"{API}/posts?{query}"))) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("created_before=2026-01-01T00:00:01Z", "a"),
        ("published_after=2026-01-01T00:00:02Z", "a"),
        ("published_before=2026-01-01T00:00:03Z", "cb"),
        ("updated_after=2026-01-01T00:00:03Z", "b"),
        ("updated_before=2026-01-01T00:00:04Z", "ac"),
        ("created_after=2026-01-01T00:00:00Z&updated_before=2026-01-01T00:00:04Z", "c"),
        (
            "published_after=2026-01-01T00:00:02Z&created_after=2026-01-01T00:00:00Z&updated_after=0001-01-01T00:00:00Z",
            "",
        ),
    ],
)
@pytest.mark.parametrize("more", ["", "&sort=title", "&page=1", "&sort=-updated_at&page=1"])
def test_each_time_has_its_filters_in_every_order(
    client: FlaskClient, alice: Person, write: Write, clock: Clock, query: str, expected: str, more: str
) -> None:
    """Post a is written at 0 s and published at 3 s, b is written at 1 s and changed at 4 s, c is written at 2 s."""
    clock.now = datetime(2026, 1, 1, tzinfo=UTC)
    posts = {}
    for title in "abc":
        posts[title] = write(alice, title=title, status="draft" if title == "a" else "published")
        clock.forward(seconds=1)
    alice.patch(f"/posts/{posts['a']['id']}", json={"status": "published"})
    clock.forward(seconds=1)
    alice.patch(f"/posts/{posts['b']['id']}", json={"content": "edited"})
    found = titles(client.get(f"{API}/posts?{query}{more}"))
    assert sorted(found) == sorted(expected)
    if not more:
        assert found == list(expected)


def test_a_draft_published_late_is_the_newest_post(
    client: FlaskClient, alice: Person, write: Write, clock: Clock
) -> None:
    late = write(alice, title="late", status="draft")
    for title in ("first", "second"):
        clock.forward(seconds=1)
        write(alice, title=title)
    clock.forward(seconds=1)
    alice.patch(f"/posts/{late['id']}", json={"status": "published"})
    assert titles(client.get(API + "/posts")) == ["late", "second", "first"]
    assert titles(client.get(f"{API}/users/{alice.id}/posts")) == ["late", "second", "first"]


def test_a_post_published_again_has_a_new_time_of_publication(
    client: FlaskClient, alice: Person, write: Write, clock: Clock
) -> None:
    post = write(alice, title="again")
    write(alice, title="other")
    clock.forward(seconds=1)
    assert alice.patch(f"/posts/{post['id']}", json={"status": "draft"}).get_json()["published_at"] is None
    clock.forward(seconds=1)
    shown = alice.patch(f"/posts/{post['id']}", json={"status": "published"}).get_json()
    assert shown["published_at"] == shown["updated_at"] > post["published_at"]
    assert titles(client.get(API + "/posts")) == ["again", "other"]


def test_drafts_are_listed_by_the_latest_change(alice: Person, write: Write, clock: Clock) -> None:
    drafts = {}
    for title in "abc":
        drafts[title] = write(alice, title=title, status="draft")
        clock.forward(seconds=1)
    alice.patch(f"/posts/{drafts['a']['id']}", json={"content": "edited"})
    assert titles(alice.get("/posts?status=draft")) == ["a", "c", "b"]
    assert titles(alice.get(f"/users/{alice.id}/posts?status=draft")) == ["a", "c", "b"]
    # They have no time of publication: the order is that of their creation, and no filter on it finds any.
    assert titles(alice.get("/posts?status=draft&sort=published_at")) == ["a", "b", "c"]
    for name in ("published_after=0001-01-01T00:00:00Z", "published_before=9999-12-31T23:59:59Z"):
        for sort in ("", "&sort=published_at", "&sort=title"):
            assert titles(alice.get(f"/posts?status=draft&{name}{sort}")) == []


# The plus sign of an offset is decoded as a space unless it is encoded.
NO_TIMES = [
    *("", "2026", "2026-01-01", "2026-01-01T00:00", "2026-01-01T00:00:00", "2026-01-01 00:00:00Z", "now", "now()"),
    *("2026-W01-1T00:00:00Z", "20260101T000000Z", "1767225600", "٢٠٢٦-01-01T00:00:00Z", "٢2026-01-01T00:00:00Z"),
    *("2026-01-01T00:00:00+0200", "2026-01-01T00:00:00+02:00", "2026-01-01T00:00:00%2B02", "yesterday"),
    *("2026-01-01T00:00:00%2B24:00", "2026-01-01T00:00:00%2B99:99", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z"),
    *("2026-01-01T25:00:00Z", "2026-01-01T23:59:60Z", "0000-01-01T00:00:00Z", "0001-01-01T00:00:00%2B14:00"),
    *("9999-12-31T23:59:59-14:00", "2026-01-01T00:00:00Z%00", "2026-01-01T00:00:00Z%0A", "2026-01-01T00:00:00Z%27--"),
    "%202026-01-01T00:00:00Z",
]


@pytest.mark.parametrize("name", ["created_after", "published_before", "updated_after"])
@pytest.mark.parametrize("value", NO_TIMES)
def test_a_time_is_rfc_3339(client: FlaskClient, app: Flask, name: str, value: str) -> None:
    response = client.get(f"{API}/posts?{name}={quote(value, safe='%+: ')}")
    assert problem(response) == (422, "validation_error")
    text = "Must be an RFC 3339 date-time such as 2026-01-31T12:00:00Z."
    assert response.get_json()["errors"] == {name: [text]}


BAD_QUERIES = [
    *("author_id=0", "author_id=-1", "author_id=x", "author_id=1.0", "author_id=", "author_id=%201", "author_id=1_0"),
    *("author_id=%D9%A3", f"author_id={2**63}", f"author_id={'9' * 5000}", "author_id=1&author_id=1", "author_id[]=1"),
    *("sort=", "sort=id", "sort=--title", "sort=%2Btitle", "sort=Title", "sort=title,created_at", "Limit=5", "q=x"),
    *("sort=title&sort=title", "sort=title;DROP TABLE posts", "status=", "status=all", "=x", "x"),
    "status=draft&status=published",
]


@pytest.mark.parametrize("query", BAD_QUERIES, ids=lambda query: query[:40])
def test_a_bad_query_is_explained(client: FlaskClient, app: Flask, query: str) -> None:
    response = client.get(f"{API}/posts?{query}")
    assert problem(response) == (422, "validation_error")
    assert list(response.get_json()["errors"]) == [query.partition("=")[0]]


def test_every_bad_parameter_is_named_at_once(client: FlaskClient, app: Flask) -> None:
    response = client.get(API + "/posts?limit=0&sort=x&page=0&y=1")
    assert response.get_json()["errors"].keys() == {"limit", "sort", "page", "y"}


@pytest.mark.parametrize(
    "query", ["title=é", "title=%FF", "title=%ED%A0%80", "x=%C0%80", "&".join(f"a{n}=1" for n in range(101))]
)
def test_an_invalid_query_string_is_malformed(client: FlaskClient, app: Flask, query: str) -> None:
    assert problem(client.get(f"{API}/posts?{query}")) == (400, "malformed_request")


def test_twenty_posts_by_twenty_authors_are_one_query(
    app: Flask, client: FlaskClient, join: Cast, write: Write
) -> None:
    authors = [join(f"Author{number}") for number in range(20)]
    for author in authors:
        write(author)

    def statements(call: Any) -> int:
        with counted(app) as seen:
            assert len(call().get_json()["items"]) == 20
        return len(seen)

    assert statements(lambda: client.get(API + "/posts")) == 1
    assert statements(lambda: authors[0].get("/posts")) == 2


def test_a_deleted_author_s_posts_go_too(client: FlaskClient, alice: Person, bob: Person, write: Write) -> None:
    write(alice, title="hers")
    write(bob, title="his")
    assert alice.delete(f"/users/{alice.id}").status_code == 204
    assert titles(client.get(API + "/posts")) == ["his"]


def test_a_new_name_shows_in_the_list(client: FlaskClient, alice: Person, write: Write) -> None:
    write(alice)
    before = client.get(API + "/posts")
    alice.patch(f"/users/{alice.id}", json={"name": "Alicia"})
    after = client.get(API + "/posts", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200
    assert after.get_json()["items"][0]["author"] == {"id": alice.id, "name": "Alicia"}
