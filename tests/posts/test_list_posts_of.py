"""GET /users/{id}/posts."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gatepost.testing.statements import counted
from tests.conftest import API, Person, problem
from tests.posts.conftest import Write
from tests.posts.test_list_posts import titles


@pytest.fixture
def path(alice: Person, bob: Person, write: Write) -> str:
    """Return the path of Alice's posts, of which one is a draft. Bob has a post too."""
    write(alice, title="published")
    write(alice, title="draft", status="draft")
    write(bob, title="his")
    return f"/users/{alice.id}/posts"


@pytest.mark.parametrize(
    ("user", "query", "expected"),
    [
        ("alice", "", ["draft", "published"]),
        ("alice", "?status=draft", ["draft"]),
        ("alice", "?status=published", ["published"]),
        ("alice", "?sort=title&limit=1", ["draft"]),
        ("alice", "?sort=published_at", ["published"]),
        ("alice", "?sort=updated_at", ["published", "draft"]),
        ("alice", "?published_after=2000-01-01T00:00:00Z", ["published"]),
        ("alice", "?published_before=2100-01-01T00:00:00Z&sort=title", ["published"]),
        ("alice", "?updated_before=2100-01-01T00:00:00Z&sort=title", ["draft", "published"]),
        ("bob", "", ["published"]),
        ("bob", "?status=published", ["published"]),
        ("carol", "", ["published"]),
    ],
)
def test_drafts_are_for_the_author(
    request: pytest.FixtureRequest, path: str, user: str, query: str, expected: list[str]
) -> None:
    caller: Person = request.getfixturevalue(user)
    assert titles(caller.get(path + query)) == expected


def test_anyone_reads_the_published_ones(client: FlaskClient, path: str) -> None:
    response = client.get(API + path)
    assert titles(response) == ["published"]
    assert response.headers["Cache-Control"] == "no-cache"


def test_asking_for_another_s_drafts_is_refused(client: FlaskClient, path: str, bob: Person) -> None:
    assert problem(client.get(API + path + "?status=draft")) == (401, "authentication_required")
    assert problem(bob.get(path + "?status=draft")) == (403, "forbidden")


def test_filters_by_time(client: FlaskClient, path: str) -> None:
    assert titles(client.get(API + path + "?created_after=2100-01-01T00:00:00Z")) == []
    assert titles(client.get(API + path + "?created_before=2100-01-01T00:00:00Z")) == ["published"]


@pytest.mark.parametrize("user_id", ["0", "999", "abc", str(2**63)])
def test_the_posts_of_a_missing_user_are_not_found(client: FlaskClient, app: Flask, user_id: str) -> None:
    assert problem(client.get(f"{API}/users/{user_id}/posts")) == (404, "not_found")


@pytest.mark.parametrize("query", ["author_id=1", "status=all", "sort=name", "limit=101"])
def test_a_bad_query_is_explained(client: FlaskClient, path: str, query: str) -> None:
    response = client.get(f"{API}{path}?{query}")
    assert problem(response) == (422, "validation_error")
    assert list(response.get_json()["errors"]) == [query.partition("=")[0]]


def test_an_author_without_posts_has_an_empty_list(client: FlaskClient, carol: Person) -> None:
    assert titles(client.get(f"{API}/users/{carol.id}/posts")) == []


def test_it_asks_for_the_author_and_for_the_posts(app: Flask, client: FlaskClient, path: str, bob: Person) -> None:
    with counted(app) as anonymous:
        client.get(API + path)
    with counted(app) as signed_in:
        bob.get(path)
    assert (len(anonymous), len(signed_in)) == (2, 3)
