"""GET /auth/me, and that a change of the account takes effect with the next request."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gatepost.testing.statements import counted
from tests.auth.support import bearer, get_me, log_in, set_column
from tests.conftest import API, PASSWORD, Person, problem

REVOKED = (401, "token_revoked")


def test_all_private_fields_are_returned(alice: Person) -> None:
    response = alice.get("/auth/me")
    assert response.status_code == 200
    user = response.get_json()
    assert user.keys() == {
        *("id", "name", "bio", "created_at", "email"),
        *("email_verified", "role", "is_active", "updated_at"),
    }
    assert (user["id"], user["name"], user["email"]) == (alice.id, "Alice", "alice@example.com")
    assert (user["role"], user["is_active"], user["email_verified"], user["bio"]) == ("user", True, False, "")
    assert user == alice.get(f"/users/{alice.id}").get_json()


def test_the_response_has_a_strong_etag_and_is_not_cacheable(alice: Person) -> None:
    response = alice.get("/auth/me", headers={"X-Request-ID": "x" * 128})
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Request-ID"] == "x" * 128
    assert response.headers["ETag"].startswith('"')
    # The same representation as GET /users/{id}, so that its ETag is valid in If-Match there.
    assert response.headers["ETag"] == alice.get(f"/users/{alice.id}").headers["ETag"]


@pytest.mark.parametrize("form", ["{}", "W/{}", '"other", {}', "*"])
def test_a_current_etag_is_answered_304(alice: Person, form: str) -> None:
    tag = alice.get("/auth/me").headers["ETag"]
    response = alice.get("/auth/me", headers={"If-None-Match": form.format(tag)})
    assert (response.status_code, response.data) == (304, b"")
    assert response.headers["ETag"] == tag


def test_a_change_gives_another_etag(alice: Person) -> None:
    tag = alice.get("/auth/me").headers["ETag"]
    alice.patch(f"/users/{alice.id}", json={"bio": "Gardener"})
    response = alice.get("/auth/me", headers={"If-None-Match": tag})
    assert response.status_code == 200
    assert response.get_json()["bio"] == "Gardener"


def test_identifying_the_caller_takes_one_query(alice: Person) -> None:
    with counted(alice.client.application) as statements:
        assert alice.get("/auth/me").status_code == 200
    assert len(statements) == 1


def test_a_user_disabled_by_sql_is_refused_too(app: Flask, alice: Person) -> None:
    set_column(app, alice, is_active=False)
    assert problem(alice.get("/auth/me")) == REVOKED
    set_column(app, alice, is_active=True)
    assert alice.get("/auth/me").status_code == 200


def test_the_id_of_a_deleted_user_is_not_reused(client: FlaskClient, alice: Person) -> None:
    assert alice.delete(f"/users/{alice.id}").status_code == 204
    body = {"email": alice.email, "name": "Alice", "password": PASSWORD}
    again = client.post(f"{API}/auth/register", json=body).get_json()
    assert again["user"]["id"] > alice.id
    assert problem(get_me(client, alice.access_token)) == REVOKED
    sessions = client.get(f"{API}/auth/sessions", headers=bearer(again["access_token"])).get_json()
    assert sessions["items"][0]["id"] > alice.session_id
    assert log_in(client, alice.email).get_json()["user"]["id"] == again["user"]["id"]
