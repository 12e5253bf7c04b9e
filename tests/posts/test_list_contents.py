"""What lists show of the content of posts: the beginning, or all of it with include=content."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gatepost.testing.statements import counted
from tests.conftest import API, Person, problem
from tests.posts.conftest import Write, as_listed


@pytest.mark.parametrize(
    "content",
    [
        "x",
        "x" * 280,
        "x" * 281,
        "😀" * 300,
        "e\u0301" * 200,
        "Ärger\r\n\t'%_\\" * 40,
        "\U0001f468\u200d\U0001f469\u200d\U0001f467" * 70,
        "é" * 50_000,
    ],
)
@pytest.mark.parametrize("path", ["/posts", "/posts?page=1", "/users/{id}/posts"])
def test_an_excerpt_is_the_first_280_code_points(
    client: FlaskClient, alice: Person, write: Write, path: str, content: str
) -> None:
    post = write(alice, content=content)
    assert post["content"] == content
    [item] = client.get(API + path.format(id=alice.id)).get_json()["items"]
    assert item == as_listed(post)
    assert item["excerpt"] == content[:280]


@pytest.mark.parametrize("path", ["/posts?include=content", "/posts?page=1&include=content&sort=title"])
def test_whole_contents_are_included_on_request(client: FlaskClient, alice: Person, write: Write, path: str) -> None:
    post = write(alice, content="word " * 9000)
    [item] = client.get(API + path).get_json()["items"]
    assert item == {**as_listed(post), "content": post["content"]}


def test_drafts_have_excerpts_and_contents_too(alice: Person, write: Write) -> None:
    post = write(alice, content="word " * 100, status="draft")
    for path in ("/posts?status=draft", f"/users/{alice.id}/posts?status=draft"):
        assert alice.get(path).get_json()["items"] == [as_listed(post)]
        [item] = alice.get(path + "&include=content").get_json()["items"]
        assert item == {**as_listed(post), "content": post["content"]}


@pytest.mark.parametrize(("limit", "status"), [("", 200), ("&limit=1", 200), ("&limit=20", 200), ("&limit=21", 422)])
@pytest.mark.parametrize("path", ["/posts", "/users/{id}/posts"])
def test_a_page_has_at_most_20_whole_contents(
    client: FlaskClient, alice: Person, path: str, limit: str, status: int
) -> None:
    response = client.get(API + path.format(id=alice.id) + f"?include=content{limit}")
    assert response.status_code == status
    if status == 422:
        assert response.get_json()["errors"] == {"limit": ["Must be 1 to 20 with include=content."]}
    elif not limit:
        assert response.get_json()["pagination"]["limit"] == 20


@pytest.mark.parametrize("value", ["", "excerpt", "Content", "content,author", "content&include=content"])
def test_nothing_else_can_be_included(client: FlaskClient, app: Flask, value: str) -> None:
    response = client.get(f"{API}/posts?include={value}")
    assert problem(response) == (422, "validation_error")
    assert list(response.get_json()["errors"]) == ["include"]


def test_the_database_cuts_the_excerpt(app: Flask, client: FlaskClient, alice: Person, write: Write) -> None:
    write(alice, content="y" * 50_000)
    for path, count in (("/posts", 1), ("/posts?page=1", 2)):
        with counted(app) as seen:
            client.get(API + path)
        assert len(seen) == count
        assert "substr" in seen[-1]
        assert "posts.content," not in seen[-1].replace("substr(posts.content,", "")


def test_a_change_beyond_the_excerpt_changes_the_etag_of_both_lists(
    client: FlaskClient, alice: Person, write: Write
) -> None:
    post = write(alice, content="z" * 281)
    tags = {path: client.get(API + path).headers["ETag"] for path in ("/posts", "/posts?include=content")}
    assert len(set(tags.values())) == 2
    alice.patch(f"/posts/{post['id']}", json={"content": "z" * 282})
    for path, tag in tags.items():
        # The item shows `updated_at`.
        assert client.get(API + path, headers={"If-None-Match": tag}).status_code == 200
        again = client.get(API + path).headers["ETag"]
        assert client.get(API + path, headers={"If-None-Match": again}).status_code == 304
