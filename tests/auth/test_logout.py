"""POST /auth/logout."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.auth.support import NOT_OBJECTS, NOT_STRINGS, bearer, get_me, log_in, refresh, reissue, session_row
from tests.conftest import API, Clock, Person, problem

PATH = f"{API}/auth/logout"
REVOKED = (401, "token_revoked")
KINDS = ["access", "refresh"]


def token_of(person: Person, kind: str) -> str:
    return person.access_token if kind == "access" else person.refresh_token


def log_out(client: FlaskClient, token: str, place: str) -> TestResponse:
    if place == "header":
        return client.post(PATH, headers=bearer(token))
    return client.post(PATH, json={"refresh_token": token})


@pytest.mark.parametrize("place", ["header", "body"])
@pytest.mark.parametrize("kind", KINDS)
def test_either_token_ends_its_session_from_header_or_body(
    client: FlaskClient, app: Flask, alice: Person, kind: str, place: str
) -> None:
    response = log_out(client, token_of(alice, kind), place)
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Cache-Control"] == "no-store"
    assert "Content-Type" not in response.headers
    assert session_row(app, alice.session_id).revoked_reason == "logout"
    assert problem(get_me(client, alice.access_token)) == REVOKED
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


def test_other_sessions_stay_live(client: FlaskClient, alice: Person) -> None:
    other = log_in(client, alice.email).get_json()["access_token"]
    assert log_out(client, alice.access_token, "header").status_code == 204
    assert get_me(client, other).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_logout_is_token_revoked(client: FlaskClient, alice: Person, kind: str) -> None:
    log_out(client, alice.access_token, "header")
    assert problem(log_out(client, token_of(alice, kind), "header")) == REVOKED


def test_the_first_reason_of_an_end_is_kept(client: FlaskClient, app: Flask, alice: Person, clock: Clock) -> None:
    log_out(client, alice.access_token, "header")
    ended = session_row(app, alice.session_id).revoked_at
    clock.forward(minutes=1)
    log_out(client, alice.access_token, "header")
    assert session_row(app, alice.session_id).revoked_at == ended


def test_a_replaced_refresh_token_may_still_log_out(client: FlaskClient, alice: Person, clock: Clock) -> None:
    access = refresh(client, alice.refresh_token).get_json()["access_token"]
    clock.forward(minutes=1)
    assert log_out(client, alice.refresh_token, "header").status_code == 204
    assert problem(get_me(client, access)) == REVOKED


@pytest.mark.parametrize("kind", KINDS)
def test_two_tokens_are_refused_and_end_nothing(client: FlaskClient, alice: Person, kind: str) -> None:
    response = client.post(PATH, json={"refresh_token": alice.refresh_token}, headers=bearer(token_of(alice, kind)))
    assert problem(response) == (400, "malformed_request")
    assert get_me(client, alice.access_token).status_code == 200


def test_without_a_token_authentication_is_required(client: FlaskClient) -> None:
    response = client.post(PATH)
    assert problem(response) == (401, "authentication_required")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="gatepost"'


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_for_the_session_of_another_user_ends_nothing(
    client: FlaskClient, alice: Person, bob: Person, kind: str
) -> None:
    foreign = reissue(token_of(bob, kind), sid=alice.session_id)
    assert problem(log_out(client, foreign, "header")) == REVOKED
    assert get_me(client, alice.access_token).status_code == 200
    assert get_me(client, bob.access_token).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_an_expired_token_ends_no_session(client: FlaskClient, alice: Person, kind: str) -> None:
    assert problem(log_out(client, reissue(token_of(alice, kind), exp=1), "header")) == (401, "token_expired")
    assert get_me(client, alice.access_token).status_code == 200


def test_an_idle_session_has_ended(client: FlaskClient, alice: Person, clock: Clock) -> None:
    clock.forward(days=7)
    assert problem(log_out(client, alice.refresh_token, "header")) == REVOKED


@pytest.mark.parametrize("value", [*NOT_STRINGS, "", " "])
def test_the_token_in_the_body_must_be_text(client: FlaskClient, value: object) -> None:
    response = client.post(PATH, json={"refresh_token": value})
    assert problem(response) == (422, "validation_error")


def test_unknown_fields_and_other_bodies_are_refused(alice: Person) -> None:
    for body in ('{"access_token": "x"}', '{"everywhere": true}', *NOT_OBJECTS):
        response = alice.post("/auth/logout", data=body, content_type="application/json")
        assert problem(response) == (422, "validation_error")
    assert alice.get("/auth/me").status_code == 200
