"""POST /auth/login."""

from __future__ import annotations

import unicodedata
from datetime import timedelta
from typing import Any

import jwt
import pytest
from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from app.api.errors import Overloaded
from app.database import fetch_one
from app.users.models import User
from tests.auth.support import NOT_STRINGS, claims_of, get_me, log_in, refresh, session_row, set_column
from tests.conftest import API, PASSWORD, Cast, Clock, Person, problem

CLAIMS = {"iss", "aud", "sub", "sid", "nonce", "gen", "jti", "iat", "nbf", "exp", "type", "fresh"}
# Headers that differ between any two responses.
VARYING = {"X-Request-ID", "Date"}


def stored_hash(app: Flask, person: Person) -> str:
    with app.app_context():
        row = fetch_one(select(User.password_hash).where(User.id == person.id))
    assert row is not None
    return str(row.password_hash)


def essence(response: TestResponse) -> tuple[int, dict[str, Any], list[tuple[str, str]]]:
    """Return the parts of a response that must not reveal why a login failed."""
    body = {k: v for k, v in response.get_json().items() if k != "request_id"}
    return response.status_code, body, [(k, v) for k, v in response.headers if k not in VARYING]


def test_a_login_answers_with_the_user_and_a_pair_of_tokens(client: FlaskClient, alice: Person) -> None:
    response = log_in(client, alice.email)
    assert response.status_code == 200
    answer = response.get_json()
    assert answer.keys() == {
        *("user", "access_token", "refresh_token"),
        *("token_type", "expires_in", "refresh_expires_in"),
    }
    assert answer["user"] == alice.get("/auth/me").get_json()
    assert get_me(client, answer["access_token"]).status_code == 200
    assert refresh(client, answer["refresh_token"]).status_code == 200


def test_the_response_is_not_cacheable_and_has_no_etag(client: FlaskClient, alice: Person) -> None:
    headers = log_in(client, alice.email).headers
    assert headers["Cache-Control"] == "no-store"
    assert "ETag" not in headers


def test_the_claims_of_the_access_token(client: FlaskClient, alice: Person) -> None:
    token = log_in(client, alice.email).get_json()["access_token"]
    header, claims = jwt.get_unverified_header(token), claims_of(token)
    assert header.keys() == {"alg", "typ", "kid"}
    assert (header["alg"], header["typ"]) == ("HS256", "at+jwt")
    assert claims.keys() == CLAIMS
    assert (claims["iss"], claims["aud"], claims["sub"]) == ("gatepost", "gatepost", str(alice.id))
    assert (claims["type"], claims["fresh"], claims["gen"]) == ("access", True, 1)
    assert claims["exp"] - claims["iat"] == 900
    assert claims["nbf"] == claims["iat"]


def test_the_claims_of_the_refresh_token(client: FlaskClient, alice: Person) -> None:
    token = log_in(client, alice.email).get_json()["refresh_token"]
    claims = claims_of(token)
    assert jwt.get_unverified_header(token)["typ"] == "rt+jwt"
    assert claims.keys() == CLAIMS
    assert (claims["type"], claims["gen"]) == ("refresh", 1)
    assert claims["exp"] - claims["iat"] == pytest.approx(timedelta(days=7).total_seconds(), abs=1)


def test_each_token_has_a_unique_id(client: FlaskClient, alice: Person) -> None:
    answers = [log_in(client, alice.email).get_json() for _ in range(2)]
    tokens = [claims_of(answer[kind]) for answer in answers for kind in ("access_token", "refresh_token")]
    assert len({claims["jti"] for claims in tokens}) == 4
    assert len({claims["sid"] for claims in tokens}) == 2


def test_a_session_stores_address_and_user_agent(client: FlaskClient, app: Flask, alice: Person) -> None:
    response = log_in(
        client,
        alice.email,
        headers={"User-Agent": "Browser/1.0 " + "x" * 300},
        environ_base={"REMOTE_ADDR": "2001:db8::7"},
    )
    row = session_row(app, claims_of(response.get_json()["access_token"])["sid"])
    assert row.ip == "2001:db8::7"
    assert row.user_agent == ("Browser/1.0 " + "x" * 300)[:255]


def test_control_characters_are_removed_from_the_user_agent(client: FlaskClient, app: Flask, alice: Person) -> None:
    # NUL, ESC, a C1 control character, a bidirectional override and a zero-width space.
    environ = {"HTTP_USER_AGENT": "a\x00b\x1bc\x9bd\u202e\u200b".encode().decode("latin-1")}
    response = log_in(client, alice.email, environ_overrides=environ)
    assert session_row(app, claims_of(response.get_json()["access_token"])["sid"]).user_agent == "abcd"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("Браузер/1.0 日本 😀".encode(), "Браузер/1.0 日本 😀"),
        (b"caf\xe9 \xff", "caf\ufffd \ufffd"),
        (b"\xf0\x9f\x98", "\ufffd"),
        ("😀".encode() * 300, "😀" * 255),
        (b"\xff" * 2000, "\ufffd" * 255),
    ],
    ids=["UTF-8", "not UTF-8", "cut", "long", "long and not UTF-8"],
)
def test_a_user_agent_is_decoded_as_utf_8(
    client: FlaskClient, app: Flask, alice: Person, sent: bytes, shown: str
) -> None:
    # WSGI servers decode header bytes as Latin-1 (PEP 3333).
    response = log_in(client, alice.email, environ_overrides={"HTTP_USER_AGENT": sent.decode("latin-1")})
    assert session_row(app, claims_of(response.get_json()["access_token"])["sid"]).user_agent == shown


def test_a_user_agent_is_not_needed(client: FlaskClient, app: Flask, alice: Person) -> None:
    response = log_in(client, alice.email, headers={"User-Agent": ""})
    assert session_row(app, claims_of(response.get_json()["access_token"])["sid"]).user_agent == ""


def test_every_failed_login_gets_the_same_answer(client: FlaskClient, app: Flask, join: Cast) -> None:
    alice, dora = join("Alice"), join("Dora")
    set_column(app, dora, is_active=False)
    wrong = log_in(client, alice.email, "not the password")
    assert problem(wrong) == (401, "invalid_credentials")
    for other in (
        log_in(client, "nobody@example.com"),
        log_in(client, dora.email),
        log_in(client, dora.email, "not the password"),
    ):
        assert essence(other) == essence(wrong)


def test_a_failed_login_challenges_without_an_error_code(client: FlaskClient, alice: Person) -> None:
    response = log_in(client, alice.email, "not the password")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="gatepost"'
    assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "password",
    [
        *("", PASSWORD[:-1], PASSWORD + " ", PASSWORD.upper(), "x" * 128),
        *("' OR '1'='1", "$argon2id$v=19$m=65536,t=3,p=4$AAAA$AAAA"),
    ],
)
def test_only_the_exact_password_is_accepted(client: FlaskClient, alice: Person, password: str) -> None:
    assert log_in(client, alice.email, password).status_code == (401 if password else 422)


def test_a_failed_login_begins_no_session(client: FlaskClient, alice: Person) -> None:
    log_in(client, alice.email, "not the password")
    assert len(alice.get("/auth/sessions").get_json()["items"]) == 1


@pytest.mark.usefixtures("full_hashes")
def test_a_hash_with_older_parameters_is_renewed(client: FlaskClient, app: Flask, alice: Person) -> None:
    older = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    set_column(app, alice, password_hash=older)
    assert log_in(client, alice.email, "not the password").status_code == 401
    assert stored_hash(app, alice) == older
    assert log_in(client, alice.email).status_code == 200
    renewed = stored_hash(app, alice)
    assert renewed.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert log_in(client, alice.email).status_code == 200
    assert stored_hash(app, alice) == renewed


@pytest.mark.usefixtures("full_hashes")
def test_a_password_hashed_before_spaces_were_normalized_is_accepted_and_hashed_again(
    client: FlaskClient, app: Flask, alice: Person
) -> None:
    password = "four\u00a0words\u2003of spaces"
    older = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(password)
    set_column(app, alice, password_hash=older)
    # Only its owner can know which of the spaces were no-break spaces.
    assert log_in(client, alice.email, "four words of spaces").status_code == 401
    assert stored_hash(app, alice) == older
    assert log_in(client, alice.email, password).status_code == 200
    renewed = stored_hash(app, alice)
    assert renewed != older
    for typed in (password, "four words of spaces", "four\u3000words of\u00a0spaces"):
        assert log_in(client, alice.email, typed).status_code == 200
    assert stored_hash(app, alice) == renewed


@pytest.mark.parametrize("composed", ["é" * 100, "é" * 128, "ΐ" * 64])
def test_a_right_password_may_be_long_in_another_form(client: FlaskClient, alice: Person, composed: str) -> None:
    change = {"current_password": PASSWORD, "new_password": composed}
    assert alice.post("/auth/password", json=change).status_code == 204
    for form in ("NFC", "NFD"):
        assert log_in(client, alice.email, unicodedata.normalize(form, composed)).status_code == 200


@pytest.mark.parametrize("password", ["x" * 129, "e\u0301" * 129, "\u00a0" * 129, "x" * 100_000])
def test_a_longer_password_is_an_error_of_that_field(client: FlaskClient, alice: Person, password: str) -> None:
    response = log_in(client, alice.email, password)
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"] == {"password": ["Must have at most 128 characters."]}


def test_an_address_is_found_with_white_space_around_it(client: FlaskClient, alice: Person) -> None:
    assert log_in(client, f" {alice.email}\n").status_code == 200


def test_a_login_succeeds_when_no_slot_is_free_to_renew_the_hash(
    client: FlaskClient, app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)
    set_column(app, alice, password_hash=older)

    def refuse(password: str) -> str:
        raise Overloaded

    monkeypatch.setattr("app.auth.service.hash_password", refuse)
    assert log_in(client, alice.email).status_code == 200
    assert stored_hash(app, alice) == older


@pytest.mark.parametrize("stored", ["", "!", "plain text", "$2b$12$" + "a" * 53, "$argon2id$v=19$m=19456,t=2,p=1$!$!"])
def test_an_invalid_stored_hash_matches_no_password(
    client: FlaskClient, app: Flask, alice: Person, stored: str
) -> None:
    set_column(app, alice, password_hash=stored)
    for password in (PASSWORD, stored or "x"):
        assert problem(log_in(client, alice.email, password)) == (401, "invalid_credentials")


def test_a_disabled_account_can_log_in_when_it_is_enabled_again(
    client: FlaskClient, alice: Person, carol: Person
) -> None:
    carol.patch(f"/users/{alice.id}", json={"is_active": False})
    assert problem(log_in(client, alice.email)) == (401, "invalid_credentials")
    carol.patch(f"/users/{alice.id}", json={"is_active": True})
    assert log_in(client, alice.email).status_code == 200
    # The sessions that were ended stay ended.
    assert problem(alice.get("/auth/me")) == (401, "token_revoked")


@pytest.mark.parametrize("change", ["password", "standing", "existence"])
def test_a_login_that_raced_a_change_of_the_account_fails(
    client: FlaskClient, app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The account changes while the password is verified, after its hash was read."""
    values: dict[str, dict[str, Any]] = {"password": {"password_hash": "!"}, "standing": {"is_active": False}}

    def change_and_verify(password: str, encoded: str | None) -> bool:
        if change == "existence":
            alice.delete(f"/users/{alice.id}")
        else:
            set_column(app, alice, **values[change])
        return True

    monkeypatch.setattr("app.auth.service.verify_password", change_and_verify)
    assert problem(log_in(client, alice.email)) == (401, "invalid_credentials")


def test_the_21st_session_ends_the_longest_idle_one(client: FlaskClient, alice: Person, clock: Clock) -> None:
    tokens = [alice.refresh_token]
    for _ in range(19):
        clock.forward(minutes=1)
        tokens.append(log_in(client, alice.email).get_json()["refresh_token"])
    clock.forward(minutes=1)
    tokens[0] = refresh(client, tokens[0]).get_json()["refresh_token"]  # Now the second one is idle longest.
    clock.forward(minutes=1)
    tokens.append(log_in(client, alice.email).get_json()["refresh_token"])
    answers = [refresh(client, token).status_code for token in tokens]
    assert answers == [200, 401, *[200] * 19]


def test_only_live_sessions_count_towards_the_maximum(client: FlaskClient, alice: Person, clock: Clock) -> None:
    for _ in range(10):
        log_in(client, alice.email)
    clock.forward(days=8)  # All of them have expired.
    first = log_in(client, alice.email).get_json()["refresh_token"]
    for _ in range(19):
        log_in(client, alice.email)
    assert refresh(client, first).status_code == 200


@pytest.mark.parametrize("field", ["email", "password"])
def test_each_field_is_required_and_a_string(client: FlaskClient, alice: Person, field: str) -> None:
    body = {"email": alice.email, "password": PASSWORD}
    path = f"{API}/auth/login"
    for value in (*NOT_STRINGS, "", "x" * 129, "x" * 1_000_000, "correct\x00horse", "\ud800" * 8):
        response = client.post(path, json={**body, field: value})
        assert problem(response) == (422, "validation_error")
        assert response.get_json()["errors"].keys() == {field}
    del body[field]
    assert client.post(path, json=body).get_json()["errors"] == {field: ["Missing data for required field."]}


@pytest.mark.parametrize("extra", ["name", "remember", "Password"])
def test_unknown_fields_are_refused(client: FlaskClient, alice: Person, extra: str) -> None:
    body = {"email": alice.email, "password": PASSWORD, extra: "x"}
    response = client.post(f"{API}/auth/login", json=body)
    assert response.get_json()["errors"] == {extra: ["Unknown field."]}


def test_an_invalid_address_is_a_validation_error(client: FlaskClient) -> None:
    response = log_in(client, "no address")
    assert response.get_json()["errors"] == {"email": ["Not a valid email address."]}


def test_the_rules_for_new_passwords_do_not_apply(client: FlaskClient, alice: Person) -> None:
    for password in (" ", "short", "password1", alice.email):
        assert problem(log_in(client, alice.email, password)) == (401, "invalid_credentials")
