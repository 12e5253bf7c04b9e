"""DELETE /users/{id}."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.api.idempotency.models import KeptAnswer
from app.auth.models import Session
from app.posts.models import Post
from app.users.models import User
from gatepost.testing.rows import count_rows
from tests.conftest import API, PASSWORD, Cast, Person, problem

POST = {"title": "Hello", "content": "World"}


@pytest.mark.parametrize("user", ["alice", "carol"])
def test_everything_goes_with_the_account(
    request: pytest.FixtureRequest, alice: Person, bob: Person, app: Flask, client: FlaskClient, user: str
) -> None:
    for person in (alice, bob):
        for status in ("draft", "published"):
            headers = {"Idempotency-Key": status}
            assert person.post("/posts", json=POST | {"status": status}, headers=headers).status_code == 201
    caller: Person = request.getfixturevalue(user)
    response = caller.delete(f"/users/{alice.id}")
    assert (response.status_code, response.data) == (204, b"")
    assert count_rows(app, User, id=alice.id) == 0
    for model, owner in ((Post, "author_id"), (Session, "user_id"), (KeptAnswer, "user_id")):
        assert count_rows(app, model, **{owner: alice.id}) == 0
        assert count_rows(app, model, **{owner: bob.id}) > 0
    assert problem(client.get(f"{API}/users/{alice.id}")) == (404, "not_found")
    assert problem(alice.get("/auth/me")) == (401, "token_revoked")
    refresh = client.post(API + "/auth/refresh", json={"refresh_token": alice.refresh_token})
    assert problem(refresh) == (401, "token_revoked")


def test_oneself_only_with_a_fresh_token(join: Cast, app: Flask) -> None:
    dave = join("Dave", fresh=False)
    response = dave.delete(f"/users/{dave.id}")
    assert problem(response) == (401, "fresh_token_required")
    assert 'error="insufficient_user_authentication"' in response.headers["WWW-Authenticate"]
    assert count_rows(app, User) == 1


def test_an_admin_needs_no_fresh_token(alice: Person, join: Cast) -> None:
    dora = join("Dora", role="admin", fresh=False)
    assert dora.delete(f"/users/{alice.id}").status_code == 204


def test_a_stranger_may_not(alice: Person, bob: Person, app: Flask) -> None:
    for user_id in (alice.id, 999, "abc"):
        assert problem(bob.delete(f"/users/{user_id}")) == (403, "forbidden")
    assert count_rows(app, User) == 2


@pytest.mark.parametrize("user_id", ["999", "abc", str(2**63)])
def test_a_missing_user_is_not_found_for_an_admin(carol: Person, user_id: str) -> None:
    assert problem(carol.delete(f"/users/{user_id}")) == (404, "not_found")


def test_the_last_admin_stays(alice: Person, carol: Person, join: Cast, app: Flask) -> None:
    dora = join("Dora", role="admin")
    carol.patch(f"/users/{dora.id}", json={"is_active": False})
    assert problem(carol.delete(f"/users/{carol.id}")) == (409, "last_admin")
    assert count_rows(app, User, id=carol.id) == 1
    assert carol.get("/auth/me").status_code == 200
    carol.patch(f"/users/{dora.id}", json={"is_active": True})
    assert carol.delete(f"/users/{carol.id}").status_code == 204


def test_a_disabled_admin_may_go(carol: Person, join: Cast) -> None:
    dora = join("Dora", role="admin")
    carol.patch(f"/users/{dora.id}", json={"is_active": False})
    assert carol.delete(f"/users/{dora.id}").status_code == 204


def test_an_id_is_never_given_again(alice: Person, client: FlaskClient) -> None:
    """Otherwise an old token of the deleted user would belong to the next user."""
    alice.delete(f"/users/{alice.id}")
    body = {"email": "eve@example.com", "name": "Eve", "password": PASSWORD}
    eve = client.post(API + "/auth/register", json=body).get_json()["user"]
    assert eve["id"] > alice.id
    assert problem(alice.get("/auth/me")) == (401, "token_revoked")


def test_the_address_is_free_again(alice: Person, client: FlaskClient) -> None:
    alice.delete(f"/users/{alice.id}")
    body = {"email": alice.email, "name": "Alice", "password": PASSWORD}
    assert client.post(API + "/auth/register", json=body).status_code == 201


@pytest.mark.parametrize(("tag", "status"), [("current", 204), ("*", 204), ('"stale"', 412), ("weak", 412)])
def test_if_match_guards_an_account(alice: Person, app: Flask, tag: str, status: int) -> None:
    current = alice.get(f"/users/{alice.id}").headers["ETag"]
    tag = {"current": current, "weak": "W/" + current}.get(tag, tag)
    assert alice.delete(f"/users/{alice.id}", headers={"If-Match": tag}).status_code == status
    assert count_rows(app, User) == (0 if status == 204 else 1)
