"""POST /auth/password."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.auth.support import NOT_OBJECTS, NOT_STRINGS, claims_of, get_me, log_in, refresh, session_row, set_column
from tests.conftest import PASSWORD, Clock, Person, problem

NEW = "a new and longer one"
BODY = {"current_password": PASSWORD, "new_password": NEW}


def change(person: Person, **changes: Any) -> TestResponse:
    return person.post("/auth/password", json=BODY | changes)


def errors_of(response: TestResponse) -> dict[str, Any]:
    assert problem(response) == (422, "validation_error")
    errors: dict[str, Any] = response.get_json()["errors"]
    return errors


def test_only_the_new_password_is_accepted_afterwards(client: FlaskClient, alice: Person) -> None:
    response = change(alice)
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Cache-Control"] == "no-store"
    assert problem(log_in(client, alice.email)) == (401, "invalid_credentials")
    assert log_in(client, alice.email, NEW).status_code == 200


def test_the_other_sessions_end_and_this_one_stays_live(
    client: FlaskClient, app: Flask, alice: Person, bob: Person
) -> None:
    other = log_in(client, alice.email).get_json()
    change(alice)
    assert problem(get_me(client, other["access_token"])) == (401, "token_revoked")
    assert problem(refresh(client, other["refresh_token"])) == (401, "token_revoked")
    assert session_row(app, claims_of(other["access_token"])["sid"]).revoked_reason == "password_changed"
    assert alice.get("/auth/me").status_code == 200
    assert refresh(client, alice.refresh_token).status_code == 200
    assert bob.get("/auth/me").status_code == 200


def test_the_account_is_marked_as_changed(alice: Person, clock: Clock) -> None:
    clock.forward(minutes=1)
    change(alice)
    user = alice.get("/auth/me").get_json()
    assert datetime.fromisoformat(user["updated_at"]) == clock.now
    assert user["created_at"] < user["updated_at"]


@pytest.mark.parametrize("wrong", [PASSWORD + "!", PASSWORD.upper(), " ", "x" * 128])
def test_a_wrong_current_password_is_an_error_of_that_field(client: FlaskClient, alice: Person, wrong: str) -> None:
    other = log_in(client, alice.email).get_json()["access_token"]
    response = change(alice, current_password=wrong)
    assert errors_of(response) == {"current_password": ["Is not your password."]}
    assert "WWW-Authenticate" not in response.headers
    # Nothing was changed.
    assert get_me(client, other).status_code == 200
    assert log_in(client, alice.email).status_code == 200


@pytest.mark.parametrize(
    "new",
    [
        *("", "seven77", "x" * 129, " " * 8, "NUL \x00 inside", "\ud800 surrogate"),
        *("password1", "QWERTYUIOP", "gatepost2026", "alice", "Alice--1234", "alice@example.com"),
    ],
)
def test_a_weak_new_password_is_refused_whatever_the_current_one(alice: Person, new: str) -> None:
    assert errors_of(change(alice, new_password=new)).keys() == {"new_password"}
    assert errors_of(change(alice, new_password=new, current_password="wrong")).keys() == {"new_password"}


def test_the_current_name_is_compared(alice: Person) -> None:
    alice.patch(f"/users/{alice.id}", json={"name": "Rosalind"})
    assert errors_of(change(alice, new_password="rosalind-1920")).keys() == {"new_password"}


@pytest.mark.parametrize(("old", "new"), [(PASSWORD, PASSWORD), ("jos\u00e9 garc\u00eda", "jose\u0301 garci\u0301a")])
def test_the_same_password_is_refused(alice: Person, old: str, new: str) -> None:
    errors = errors_of(change(alice, current_password=old, new_password=new))
    assert errors == {"new_password": ["Must differ from the current password."]}


@pytest.mark.parametrize("field", ["current_password", "new_password"])
def test_each_field_is_required_and_a_string(alice: Person, field: str) -> None:
    for wrong in (*NOT_STRINGS, ""):
        assert errors_of(change(alice, **{field: wrong})).keys() == {field}
    body = {k: v for k, v in BODY.items() if k != field}
    assert errors_of(alice.post("/auth/password", json=body)).keys() == {field}


def test_unknown_fields_and_other_bodies_are_refused(client: FlaskClient, alice: Person) -> None:
    assert errors_of(change(alice, email="x@example.com")) == {"email": ["Unknown field."]}
    for body in NOT_OBJECTS:
        errors_of(alice.post("/auth/password", data=body, content_type="application/json"))
    assert problem(alice.post("/auth/password")) == (400, "malformed_request")
    assert log_in(client, alice.email).status_code == 200


def test_a_token_of_a_refresh_is_enough(client: FlaskClient, alice: Person) -> None:
    # The current password is as strong a proof as a login.
    alice.access_token = refresh(client, alice.refresh_token).get_json()["access_token"]
    assert change(alice).status_code == 204


@pytest.mark.parametrize("values", [{"password_hash": "!"}, {"is_active": False}])
def test_a_change_that_raced_another_fails(
    client: FlaskClient, app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any]
) -> None:
    """The account changes while the password is verified, after its hash was read."""

    def change_and_verify(password: str, encoded: str | None) -> bool:
        set_column(app, alice, **values)
        return True

    monkeypatch.setattr("app.auth.service.verify_password", change_and_verify)
    assert errors_of(change(alice)).keys() == {"current_password"}


def test_an_account_deleted_meanwhile_has_no_password(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    def delete_and_compare(email: str) -> str:
        alice.delete(f"/users/{alice.id}")
        return email

    monkeypatch.setattr("app.auth.service.email_key", delete_and_compare)
    assert errors_of(change(alice)).keys() == {"current_password"}
