"""GET /users/{id}/export."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import insert

from app.components import utc_now
from app.database import db
from app.posts import service
from app.posts.models import Post
from tests.conftest import API, Cast, Person, problem


def export(person: Person) -> dict[str, Any]:
    """Return the export of a user."""
    response = person.get(f"/users/{person.id}/export")
    assert response.status_code == 200
    document: dict[str, Any] = response.get_json()
    return document


def test_it_is_a_download_for_no_cache(alice: Person) -> None:
    response = alice.get(f"/users/{alice.id}/export")
    assert response.mimetype == "application/json"
    assert response.headers["Content-Disposition"] == f'attachment; filename="gatepost-user-{alice.id}.json"'
    assert response.headers["Cache-Control"] == "no-store"


def test_it_holds_everything_of_the_user_and_nothing_of_others(alice: Person, bob: Person) -> None:
    for person in (alice, bob):
        for status in ("draft", "published"):
            person.post("/posts", json={"title": person.name, "content": "x", "status": status})
    document = export(alice)
    assert document["user"] == alice.get("/auth/me").get_json()
    assert [(post["title"], post["status"]) for post in document["posts"]] == [
        ("Alice", "draft"),
        ("Alice", "published"),
    ]
    assert [session["id"] for session in document["sessions"]] == [alice.session_id]
    assert (document["sessions"][0]["ip"], document["sessions"][0]["user_agent"]) == ("127.0.0.1", "pytest")
    assert "Bob" not in str(document)
    assert "argon2" not in str(document)


def test_posts_and_times_read_as_they_do_elsewhere(alice: Person) -> None:
    post = alice.post("/posts", json={"title": "T", "content": "C"}).get_json()
    del post["author"]
    assert export(alice)["posts"] == [post]


def test_an_ended_session_is_exported_too(alice: Person, join: Cast, client: FlaskClient) -> None:
    body = {"email": alice.email, "password": "correct horse battery"}
    token = client.post(API + "/auth/login", json=body).get_json()["access_token"]
    client.post(API + "/auth/logout", headers={"Authorization": f"Bearer {token}"})
    ended = export(alice)["sessions"][1]
    assert ended["revoked_reason"] == "logout"
    assert ended["revoked_at"].endswith("Z")


def test_long_exports_come_in_batches(alice: Person, app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    now = utc_now()
    row = {"author_id": alice.id, "title": "T", "content": "C", "status": "draft", "created_at": now, "updated_at": now}
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(insert(Post), [row] * (service.EXPORT_BATCH + 1))
    ids = [post["id"] for post in export(alice)["posts"]]
    assert len(ids) == service.EXPORT_BATCH + 1
    assert ids == sorted(set(ids))


def test_only_your_own(alice: Person, bob: Person, carol: Person) -> None:
    for caller in (bob, carol):
        for user_id in (alice.id, 999, "abc"):
            assert problem(caller.get(f"/users/{user_id}/export")) == (403, "forbidden")


def test_only_with_a_fresh_token(join: Cast) -> None:
    dave = join("Dave", fresh=False)
    assert problem(dave.get(f"/users/{dave.id}/export")) == (401, "fresh_token_required")
