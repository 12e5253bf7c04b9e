"""GET /posts/{id}."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gatepost.testing.statements import counted
from tests.conftest import API, Person, problem
from tests.posts.conftest import Write

NO_IDS = ["0", "-1", "+1", "01", "1.0", "1e0", "abc", "%20", "1%20", "٣", "１", "²", "999", str(2**63 - 1)]
TOO_LARGE = [str(2**63), str(2**64), "9" * 19, "9" * 20, "9" * 5000]


def test_anyone_reads_a_published_post(client: FlaskClient, alice: Person, write: Write) -> None:
    post = write(alice)
    response = client.get(f"{API}/posts/{post['id']}")
    assert response.status_code == 200
    assert response.mimetype == "application/json"
    assert response.get_json() == post
    assert response.headers["Cache-Control"] == "no-cache"
    assert "Authorization" in response.vary


def test_what_a_signed_in_caller_reads_is_not_for_caches(alice: Person, bob: Person, write: Write) -> None:
    post = write(alice)
    response = bob.get(f"/posts/{post['id']}")
    assert response.get_json() == post
    assert response.headers["Cache-Control"] == "no-store"
    assert "Authorization" in response.vary


def test_a_draft_is_for_its_author_and_admins(
    client: FlaskClient, alice: Person, bob: Person, carol: Person, write: Write
) -> None:
    path = f"/posts/{write(alice, status='draft')['id']}"
    assert alice.get(path).status_code == 200
    assert carol.get(path).status_code == 200
    assert problem(bob.get(path)) == (404, "not_found")
    assert problem(client.get(API + path)) == (404, "not_found")


def test_a_draft_is_refused_like_a_missing_post(client: FlaskClient, alice: Person, write: Write) -> None:
    draft = client.get(f"{API}/posts/{write(alice, status='draft')['id']}", headers={"X-Request-ID": "same"})
    nothing = client.get(f"{API}/posts/999", headers={"X-Request-ID": "same"})
    assert draft.data == nothing.data
    assert draft.headers == nothing.headers


@pytest.mark.parametrize("post_id", NO_IDS + TOO_LARGE, ids=lambda text: text[:24])
def test_an_invalid_id_is_not_found(client: FlaskClient, post_id: str) -> None:
    assert problem(client.get(f"{API}/posts/{post_id}")) == (404, "not_found")


@pytest.mark.parametrize("path", ["/posts/1/", "/posts//1", "/posts/", "//posts", "/posts/1/2", "/Posts"])
def test_other_spellings_of_a_path_are_other_paths(alice: Person, write: Write, path: str) -> None:
    write(alice)
    assert problem(alice.get(path)) == (404, "not_found")


def test_bad_credentials_are_refused_even_where_none_are_needed(
    client: FlaskClient, alice: Person, write: Write
) -> None:
    path = f"{API}/posts/{write(alice)['id']}"
    response = client.get(path, headers={"Authorization": "Bearer x.y.z"})
    assert problem(response) == (401, "token_invalid")


def test_a_post_with_its_author_is_one_query(app: Flask, client: FlaskClient, alice: Person, write: Write) -> None:
    path = f"/posts/{write(alice)['id']}"
    with counted(app) as anonymous:
        client.get(API + path)
    with counted(app) as signed_in:
        alice.get(path)
    assert (len(anonymous), len(signed_in)) == (1, 2)
