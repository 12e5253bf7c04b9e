"""POST /posts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.api.access import Caller
from app.posts import service
from app.posts.models import Post
from gatepost.testing.rows import count_rows, delete_user_row
from tests.conftest import API, Cast, Clock, Person, problem

POST = {"title": "Hello", "content": "World"}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def test_a_post_is_published_at_once(alice: Person) -> None:
    response = alice.post("/posts", json=POST)
    post = response.get_json()
    assert response.status_code == 201
    assert list(post) == [
        *("id", "title", "content", "status", "published_at", "created_at", "updated_at", "author"),
    ]
    assert (post["title"], post["content"], post["status"]) == ("Hello", "World", "published")
    assert post["author"] == {"id": alice.id, "name": "Alice"}
    assert post["published_at"] == post["created_at"] == post["updated_at"]
    assert TIME.fullmatch(post["created_at"])


def test_the_answer_says_where_the_post_is_and_what_it_reads_as(alice: Person, client: FlaskClient) -> None:
    response = alice.post("/posts", json=POST)
    assert response.headers["Location"] == f"{API}/posts/{response.get_json()['id']}"
    assert response.headers["Cache-Control"] == "no-store"
    read = client.get(response.headers["Location"])
    assert read.data == response.data
    assert read.headers["ETag"] == response.headers["ETag"]


def test_a_draft_has_no_time_of_publication(alice: Person) -> None:
    post = alice.post("/posts", json=POST | {"status": "draft"}).get_json()
    assert (post["status"], post["published_at"]) == ("draft", None)


@pytest.mark.parametrize("member", ["title", "content"])
@pytest.mark.parametrize("text", ["\u200b", "\u3164", "\u2800", "\ufeff \u00ad", "\U000e0020"], ids=ascii)
def test_title_and_content_have_a_visible_character(alice: Person, member: str, text: str) -> None:
    response = alice.post("/posts", json=POST | {member: text})
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"] == {member: ["Must not be blank."]}


def test_only_the_content_may_set_the_direction_of_text(alice: Person) -> None:
    text = "\u202egnp.\u2066"
    assert alice.post("/posts", json=POST | {"content": text}).get_json()["content"] == text
    response = alice.post("/posts", json=POST | {"title": text})
    assert problem(response) == (422, "validation_error")
    assert list(response.get_json()["errors"]) == ["title"]


def test_an_admin_and_a_stale_token_may_write_too(carol: Person, join: Cast) -> None:
    assert carol.post("/posts", json=POST).status_code == 201
    assert join("Dave", fresh=False).post("/posts", json=POST).status_code == 201


def test_times_are_the_clocks(alice: Person, clock: Clock) -> None:
    post = alice.post("/posts", json=POST).get_json()
    assert post["created_at"] == clock.now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"title": ""}, {"title": ["Must not be empty."]}),
        ({"title": " \u2003 "}, {"title": ["Must not be blank."]}),
        ({"title": "x" * 201}, {"title": ["Must have at most 200 characters."]}),
        ({"title": "😀" * 201}, {"title": ["Must have at most 200 characters."]}),
        ({"title": "a\tb"}, {"title": ["Must not have control characters."]}),
        ({"title": "a\nb"}, {"title": ["Must not have control characters."]}),
        ({"title": "a\x85b"}, {"title": ["Must not have control characters."]}),
        ({"title": True}, {"title": ["Must be a string."]}),
        ({"content": ""}, {"content": ["Must not be empty."]}),
        ({"content": "\n\t "}, {"content": ["Must not be blank."]}),
        ({"content": "\x1b[31m"}, {"content": ["Must not have control characters."]}),
        ({"content": "\x7f"}, {"content": ["Must not have control characters."]}),
        ({"content": "x" * 50_001}, {"content": ["Must have at most 50000 characters."]}),
        ({"status": "deleted"}, {"status": ["Must be one of: draft, published."]}),
        ({"status": "Draft"}, {"status": ["Must be one of: draft, published."]}),
        ({"status": True}, {"status": ["Must be a string."]}),
        ({"published_at": None}, {"published_at": ["Unknown field."]}),
        ({"Title": "x"}, {"Title": ["Unknown field."]}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_invalid_post_is_explained_and_not_stored(
    alice: Person, app: Flask, changes: dict[str, Any], errors: dict[str, Any]
) -> None:
    response = alice.post("/posts", json=POST | changes)
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"] == errors
    assert response.get_json()["detail"] == "The request has 1 invalid field."
    assert count_rows(app, Post) == 0


def test_every_mistake_is_named_at_once(alice: Person) -> None:
    response = alice.post("/posts", json={"status": "x", "y": 1})
    assert response.get_json()["errors"] == {
        "title": ["Missing data for required field."],
        "content": ["Missing data for required field."],
        "status": ["Must be one of: draft, published."],
        "y": ["Unknown field."],
    }
    assert response.get_json()["detail"] == "The request has 4 invalid fields."


@pytest.mark.parametrize(
    "content",
    [
        *("x" * 50_000, "😀" * 50_000, "line\r\nbreak\tand tab", "<script>alert('1')</script>'; DROP TABLE posts; --"),
        *("%s %(x)s {0} \\ \\u0000 :name", "\u202eright to left\u202c \ufeff \u2028 \U0010ffff"),
        *("e\u0301 is not \u00e9", "  kept  "),
    ],
    ids=lambda content: ascii(content[:20]),
)
def test_text_is_kept_as_sent(alice: Person, client: FlaskClient, content: str) -> None:
    response = alice.post("/posts", json={"title": "T", "content": content})
    assert response.status_code == 201
    assert client.get(response.headers["Location"]).get_json()["content"] == content


@pytest.mark.parametrize("title", ["x", "x" * 200, "😀" * 200, "<b>'\"&%_\\", " spaced "])
def test_titles_are_kept_as_sent(alice: Person, client: FlaskClient, title: str) -> None:
    response = alice.post("/posts", json={"title": title, "content": "C"})
    assert client.get(response.headers["Location"]).get_json()["title"] == title


def test_an_author_deleted_meanwhile_is_refused(alice: Person, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account is deleted after the request was authorized. The foreign key refuses the post, which is not a 500."""
    create = service.create_post

    def delete_first(author: Caller, **members: str) -> object:
        delete_user_row(app, author.id)
        return create(author, **members)

    monkeypatch.setattr(service, "create_post", delete_first)
    assert problem(alice.post("/posts", json=POST)) == (401, "token_revoked")
    assert count_rows(app, Post) == 0
