"""Query plans of posts: filters by time, and drafts. The conformance tests have those of every list and order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gatepost.testing.plans import Statement, explaining, recorded
from tests.conftest import API, PASSWORD, Person


@pytest.fixture
def rows(client: FlaskClient, alice: Person, carol: Person) -> None:
    """Insert at least two rows for each list of Carol's, so that there are two pages of one item."""
    for number in range(2):
        for status in ("published", "draft"):
            post = {"title": f"Title {number}", "content": "Text", "status": status}
            assert carol.post("/posts", json=post).status_code == 201
        login = {"email": carol.email, "password": PASSWORD}
        assert client.post(f"{API}/auth/login", json=login).status_code == 200


@pytest.fixture
def statements(app: Flask, rows: None) -> Iterator[list[Statement]]:
    """Collect the statements of the lists."""
    with recorded(app, of={"posts"}) as seen:
        yield seen


TIMES = ("created", "published", "updated")


@pytest.mark.parametrize(
    "path", ["/posts", "/posts?status=draft", "/users/{id}/posts", "/users/{id}/posts?status=draft"]
)
def test_a_filter_by_the_time_of_the_order_is_a_range_of_its_index(
    app: Flask, carol: Person, rows: None, statements: list[Statement], path: str
) -> None:
    for time in ("created", "updated") if "draft" in path else TIMES:
        for sort in (f"{time}_at", f"-{time}_at"):
            query = f"sort={sort}&{time}_after=2020-01-01T00:00:00Z&{time}_before=2100-01-01T00:00:00Z"
            statements.clear()
            url = f"{path.format(id=carol.id)}{'&' if '?' in path else '?'}{query}"
            assert len(carol.get(url).get_json()["items"]) >= 2
            [statement] = statements
            with explaining(app) as explain:
                assert explain(statement) == []


@pytest.mark.parametrize(
    "query",
    [
        "sort=title&created_after={0}",
        "sort=-created_at&updated_before={0}",
        "sort=title&created_after={0}&published_after={0}",
    ],
)
@pytest.mark.parametrize("path", ["/posts", "/posts?status=draft", "/users/{id}/posts", "/posts?author_id={id}"])
def test_a_filter_by_another_time_is_tested_along_the_index_of_the_order(
    app: Flask, carol: Person, rows: None, statements: list[Statement], path: str, query: str
) -> None:
    url = f"{path.format(id=carol.id)}{'&' if '?' in path else '?'}{query.format('2020-01-01T00:00:00Z')}"
    assert carol.get(url).status_code == 200
    assert len(statements) == 2
    with explaining(app) as explain:
        assert [explain(statement) for statement in statements] == [[], []]


def test_drafts_have_an_index_of_their_own(app: Flask, carol: Person, rows: None, statements: list[Statement]) -> None:
    """A list of few drafts must not read the many published posts between them."""
    carol.get("/posts?status=draft&sort=title")
    carol.get(f"/users/{carol.id}/posts?status=draft&sort=title")
    assert len(statements) == 2
    others = ("ix_posts_author_id_title_id", "ix_posts_status_title_id")
    with explaining(app, without=others) as explain:
        assert [explain(statement) for statement in statements] == [[], []]
