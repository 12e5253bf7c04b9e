"""POST /auth/reauthenticate."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update
from werkzeug.test import TestResponse

from app.api.errors import Overloaded
from app.audit.models import AuthEvent
from app.auth.models import Session
from app.database import db
from app.users.models import User
from gatepost.testing.rows import count_rows
from tests.auth.support import claims_of, refresh, session_row, set_column
from tests.conftest import API, PASSWORD, Cast, Person, problem

WRONG = {"password": ["Is not your password."]}


@pytest.fixture
def dave(join: Cast) -> Person:
    """A user whose access token is that of a refresh."""
    return join("Dave", fresh=False)


def reauthenticate(person: Person, password: str = PASSWORD) -> TestResponse:
    return person.post("/auth/reauthenticate", json={"password": password})


def test_the_token_is_fresh_and_of_the_same_session(app: Flask, dave: Person) -> None:
    assert problem(dave.get(f"/users/{dave.id}/export")) == (401, "fresh_token_required")
    before = session_row(app, dave.session_id)
    response = reauthenticate(dave)
    answer = response.get_json()
    assert response.status_code == 200
    assert answer.keys() == {"access_token", "token_type", "expires_in"}
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 900)
    assert response.headers["Cache-Control"] == "no-store"
    assert "ETag" not in response.headers
    assert "Set-Cookie" not in response.headers
    old, new = claims_of(dave.access_token), claims_of(answer["access_token"])
    assert new["fresh"] is True
    assert {name for name in new if new[name] != old[name]} <= {"fresh", "jti", "iat", "nbf", "exp"}
    # No refresh token was rotated, and no session opened.
    assert session_row(app, dave.session_id) == before
    assert count_rows(app, Session) == 1
    dave.access_token = answer["access_token"]
    assert dave.get(f"/users/{dave.id}/export").status_code == 200
    assert count_rows(app, AuthEvent, event="reauthenticated", user_id=dave.id, session_id=dave.session_id) == 1


def test_the_refresh_token_stays_valid(client: FlaskClient, dave: Person) -> None:
    assert reauthenticate(dave).status_code == 200
    assert refresh(client, dave.refresh_token).status_code == 200


def test_the_token_ends_with_the_session(dave: Person) -> None:
    token = reauthenticate(dave).get_json()["access_token"]
    dave.delete(f"/auth/sessions/{dave.session_id}")
    dave.access_token = token
    assert problem(dave.get("/auth/me")) == (401, "token_revoked")


@pytest.mark.parametrize("password", ["wrong", PASSWORD.upper(), PASSWORD + " "])
def test_a_wrong_password_is_an_error_of_the_field(app: Flask, dave: Person, password: str) -> None:
    response = reauthenticate(dave, password)
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"] == WRONG
    assert "WWW-Authenticate" not in response.headers
    event = {"event": "reauthentication_failed", "user_id": dave.id, "actor": "self"}
    assert count_rows(app, AuthEvent, **event, detail="wrong_password") == 1
    assert [item["detail"] for item in dave.get("/auth/events").get_json()["items"]] == [None]


@pytest.mark.parametrize("body", [{}, {"password": ""}, {"password": None}, {"password": PASSWORD, "email": "x"}])
def test_other_bodies_are_refused(dave: Person, body: dict[str, Any]) -> None:
    assert problem(dave.post("/auth/reauthenticate", json=body)) == (422, "validation_error")


def test_it_needs_an_access_token(client: FlaskClient, dave: Person) -> None:
    response = client.post(f"{API}/auth/reauthenticate", json={"password": PASSWORD})
    assert problem(response) == (401, "authentication_required")
    dave.access_token = dave.refresh_token
    assert problem(reauthenticate(dave)) == (401, "token_invalid")


def test_a_disabled_account_is_refused(carol: Person, dave: Person) -> None:
    carol.patch(f"/users/{dave.id}", json={"is_active": False})
    assert problem(reauthenticate(dave)) == (401, "token_revoked")


@pytest.mark.parametrize("values", [{"password_hash": "!"}, {"is_active": False}])
def test_an_account_that_changes_during_the_hash(
    app: Flask, dave: Person, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    def change_and_verify(password: str, encoded: str | None) -> bool:
        set_column(app, dave, **values)
        return True

    monkeypatch.setattr("app.auth.service.verify_password", change_and_verify)
    assert reauthenticate(dave).get_json()["errors"] == WRONG
    assert count_rows(app, AuthEvent, event="reauthentication_failed", detail="account_changed") == 1


def test_an_address_that_is_stored_with_an_a_label(app: Flask, dave: Person) -> None:
    """Such rows come from imports; their key has the domain as Unicode."""
    with app.app_context(), db.engine.begin() as connection:
        stored = {"email": "d@xn--mnchen-3ya.example", "email_key": "d@münchen.example"}
        connection.execute(update(User).where(User.id == dave.id).values(stored))
    assert reauthenticate(dave).status_code == 200


def test_no_free_hash_slot(dave: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(password: str, encoded: str | None) -> bool:
        raise Overloaded

    monkeypatch.setattr("app.auth.service.verify_password", refuse)
    assert problem(reauthenticate(dave)) == (503, "overloaded")


def test_a_login_with_the_cookie_gets_no_second_cookie(client: FlaskClient, dave: Person) -> None:
    login = {"email": dave.email, "password": PASSWORD, "cookie": True}
    answer = client.post(f"{API}/auth/login", json=login).get_json()
    headers = {"Authorization": f"Bearer {answer['access_token']}"}
    response = client.post(f"{API}/auth/reauthenticate", json={"password": PASSWORD}, headers=headers)
    assert response.status_code == 200
    assert "Set-Cookie" not in response.headers
