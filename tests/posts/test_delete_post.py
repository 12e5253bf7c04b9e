"""DELETE /posts/{id}."""

from __future__ import annotations

import pytest
from flask import Flask

from app.posts.models import Post
from gatepost.testing.rows import count_rows
from tests.conftest import Person, problem
from tests.posts.conftest import Write


@pytest.mark.parametrize("status", ["draft", "published"])
@pytest.mark.parametrize("user", ["alice", "carol"])
def test_author_and_admins_delete(
    request: pytest.FixtureRequest, alice: Person, app: Flask, write: Write, user: str, status: str
) -> None:
    path = f"/posts/{write(alice, status=status)['id']}"
    caller: Person = request.getfixturevalue(user)
    response = caller.delete(path)
    assert (response.status_code, response.data) == (204, b"")
    assert "Content-Type" not in response.headers
    assert response.headers["Cache-Control"] == "no-store"
    assert count_rows(app, Post) == 0
    assert problem(alice.get(path)) == (404, "not_found")
    assert problem(caller.delete(path)) == (404, "not_found")


def test_a_stranger_may_not(alice: Person, bob: Person, app: Flask, write: Write) -> None:
    assert problem(bob.delete(f"/posts/{write(alice)['id']}")) == (403, "forbidden")
    assert problem(bob.delete(f"/posts/{write(alice, status='draft')['id']}")) == (404, "not_found")
    assert count_rows(app, Post) == 2


def test_its_id_is_never_given_again(alice: Person, write: Write) -> None:
    post = write(alice)
    alice.delete(f"/posts/{post['id']}")
    assert write(alice)["id"] > post["id"]


@pytest.mark.parametrize("post_id", ["999", "abc", str(2**63)])
def test_what_does_not_exist_is_not_found(alice: Person, post_id: str) -> None:
    assert problem(alice.delete(f"/posts/{post_id}")) == (404, "not_found")


@pytest.mark.parametrize(
    ("data", "content_type", "expected"),
    [
        (b"{}", "application/json", (204, "")),
        (b"", "text/plain", (204, "")),
        (b'{"force": true}', "application/json", (422, "validation_error")),
        (b"{", "application/json", (400, "malformed_request")),
        (b"x", "text/plain", (415, "unsupported_media_type")),
    ],
)
def test_it_takes_no_body(
    alice: Person, app: Flask, write: Write, data: bytes, content_type: str, expected: tuple[int, str]
) -> None:
    response = alice.delete(f"/posts/{write(alice)['id']}", data=data, content_type=content_type)
    assert (response.status_code, "" if expected[0] == 204 else problem(response)[1]) == expected
    assert count_rows(app, Post) == (0 if expected[0] == 204 else 1)
