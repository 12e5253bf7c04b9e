"""The events that are recorded, with all their members."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.audit.models import ACTORS, EVENTS
from tests.audit.support import events, names
from tests.auth.support import claims_of, log_in, refresh, set_column
from tests.conftest import API, PASSWORD, Cast, Clock, Person, problem

NEW_PASSWORD = "staple of a new battery"
AGENT = "Browser/1.0"
ADDRESS = "203.0.113.7"
FROM: dict[str, Any] = {
    "headers": {"User-Agent": AGENT, "X-Request-ID": "request-1"},
    "environ_base": {"REMOTE_ADDR": ADDRESS},
}
DAVE = {"email": "dave@example.com", "name": "Dave", "password": PASSWORD}


def expected(event: str, clock: Clock, **members: Any) -> dict[str, Any]:
    """Return an event of the client `FROM`. Members that are not given are null."""
    row = {
        "created_at": clock.now,
        "event": event,
        "user_id": None,
        "email_hash": None,
        "actor": "anonymous",
        "actor_id": None,
        "session_id": None,
        "detail": None,
        "ip": ADDRESS,
        "user_agent": AGENT,
        "request_id": "request-1",
    }
    return {**row, **members}


def test_a_registration(app: Flask, client: FlaskClient, clock: Clock) -> None:
    answer = client.post(f"{API}/auth/register", json=DAVE, **FROM).get_json()
    user_id, session_id = answer["user"]["id"], claims_of(answer["access_token"])["sid"]
    who = {"user_id": user_id, "actor": "self", "actor_id": user_id, "session_id": session_id}
    assert events(app) == [expected("registered", clock, **who)]


def test_a_login(app: Flask, client: FlaskClient, clock: Clock, alice: Person) -> None:
    answer = log_in(client, alice.email, **FROM).get_json()
    who = {"user_id": alice.id, "actor": "self", "actor_id": alice.id}
    session_id = claims_of(answer["access_token"])["sid"]
    assert session_id != alice.session_id
    assert events(app) == [expected("logged_in", clock, **who, session_id=session_id)]


def test_failed_logins_and_why(app: Flask, client: FlaskClient, clock: Clock, alice: Person, bob: Person) -> None:
    set_column(app, bob, is_active=False)
    for email, password in (
        (alice.email, "not the password"),
        (bob.email, PASSWORD),
        (bob.email, "not the password"),
    ):
        assert problem(log_in(client, email, password, **FROM)) == (401, "invalid_credentials")
    assert events(app) == [
        expected("login_failed", clock, user_id=alice.id, detail="wrong_password"),
        expected("login_failed", clock, user_id=bob.id, detail="disabled"),
        expected("login_failed", clock, user_id=bob.id, detail="wrong_password"),
    ]


def test_a_login_to_no_account_keeps_a_keyed_hash_of_the_address(
    app: Flask, client: FlaskClient, clock: Clock, alice: Person
) -> None:
    # An unknown address is often a password that was typed into the wrong field.
    for email in ("S3cret-word@example.com", "s3cret-WORD@EXAMPLE.com", "other@example.com"):
        assert problem(log_in(client, email, **FROM)) == (401, "invalid_credentials")
    one, same, other = events(app)
    assert one == expected("login_failed", clock, detail="unknown_email", email_hash=one["email_hash"])
    assert one["email_hash"] == same["email_hash"] != other["email_hash"]
    assert len(bytes.fromhex(one["email_hash"])) == 16
    # The hash cannot be computed without the service's secret.
    for plain in (hashlib.blake2b, hashlib.sha256, hashlib.md5):
        assert one["email_hash"] not in plain(b"s3cret-word@example.com").hexdigest()
    assert "cret" not in str(events(app)).lower()


@pytest.mark.parametrize("change", ["password", "existence"])
def test_a_login_that_raced_a_change_of_the_account(
    app: Flask, client: FlaskClient, alice: Person, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    def change_and_judge(password: str, encoded: str | None) -> bool:
        if change == "existence":
            assert alice.delete(f"/users/{alice.id}").status_code == 204
        else:
            set_column(app, alice, password_hash="!")
        return True

    monkeypatch.setattr("app.auth.service.verify_password", change_and_judge)
    assert problem(log_in(client, alice.email)) == (401, "invalid_credentials")
    [event] = events(app, "login_failed")
    assert (event["user_id"], event["detail"]) == (alice.id, "account_changed")
    assert "logged_in" not in names(app)


def test_a_replay_is_recorded_once(app: Flask, client: FlaskClient, clock: Clock, alice: Person) -> None:
    answer = refresh(client, alice.refresh_token).get_json()
    # The new access token is used, so a lost response does not explain that the old refresh token is sent again.
    client.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {answer['access_token']}"})
    clock.forward(minutes=1)
    headers = {**FROM["headers"], "Authorization": f"Bearer {alice.refresh_token}"}
    for _ in range(3):
        response = client.post(f"{API}/auth/refresh", **{**FROM, "headers": headers})
        assert problem(response) == (401, "token_revoked")
    # The actor is unknown: it may be the owner or a thief.
    assert events(app) == [expected("refresh_replayed", clock, user_id=alice.id, session_id=alice.session_id)]


def test_a_refresh_leaves_no_event(app: Flask, client: FlaskClient, alice: Person) -> None:
    for _ in range(2):  # The second within the grace period of the first.
        assert refresh(client, alice.refresh_token).status_code == 200
    assert names(app) == []


@pytest.mark.parametrize("token", ["access_token", "refresh_token"])
def test_a_logout(app: Flask, client: FlaskClient, clock: Clock, alice: Person, token: str) -> None:
    headers = {**FROM["headers"], "Authorization": f"Bearer {getattr(alice, token)}"}
    for status in (204, 401):
        assert client.post(f"{API}/auth/logout", **{**FROM, "headers": headers}).status_code == status
    who = {"user_id": alice.id, "actor": "self", "actor_id": alice.id, "session_id": alice.session_id}
    assert events(app) == [expected("logged_out", clock, **who)]


def test_a_session_that_is_ended(app: Flask, client: FlaskClient, clock: Clock, alice: Person) -> None:
    other = claims_of(log_in(client, alice.email).get_json()["access_token"])["sid"]
    assert alice.delete(f"/auth/sessions/{other}", **FROM).status_code == 204
    assert alice.delete(f"/auth/sessions/{other}", **FROM).status_code == 404
    who = {"user_id": alice.id, "actor": "self", "actor_id": alice.id, "detail": "ended"}
    assert events(app)[1:] == [expected("session_revoked", clock, **who, session_id=other)]


def test_sessions_that_are_ended_together(app: Flask, client: FlaskClient, clock: Clock, alice: Person) -> None:
    others = [claims_of(log_in(client, alice.email).get_json()["access_token"])["sid"] for _ in range(3)]
    assert alice.delete("/auth/sessions?include_current=true", **FROM).status_code == 204
    ended = events(app, "session_revoked")
    assert {event["session_id"] for event in ended} == {alice.session_id, *others}
    who = {"user_id": alice.id, "actor": "self", "actor_id": alice.id, "detail": "ended"}
    assert all(event == expected("session_revoked", clock, **who, session_id=event["session_id"]) for event in ended)
    assert len(ended) == 4


def test_the_session_that_is_one_too_many(app: Flask, client: FlaskClient, clock: Clock, alice: Person) -> None:
    for _ in range(20):
        clock.forward(minutes=1)
        assert log_in(client, alice.email, **FROM).status_code == 200
    who = {"user_id": alice.id, "actor": "self", "actor_id": alice.id}
    [event] = events(app, "session_revoked")
    assert event == expected("session_revoked", clock, **who, session_id=alice.session_id, detail="too_many_sessions")


def test_a_change_of_password(app: Flask, client: FlaskClient, clock: Clock, alice: Person) -> None:
    other = claims_of(log_in(client, alice.email).get_json()["access_token"])["sid"]
    body = {"current_password": "not the password", "new_password": NEW_PASSWORD}
    assert problem(alice.post("/auth/password", json=body, **FROM)) == (422, "validation_error")
    body["current_password"] = PASSWORD
    assert alice.post("/auth/password", json=body, **FROM).status_code == 204
    who = {"user_id": alice.id, "actor": "self", "actor_id": alice.id}
    here = {**who, "session_id": alice.session_id}
    assert events(app)[1:] == [
        expected("password_change_failed", clock, **here, detail="wrong_password"),
        expected("password_changed", clock, **here),
        expected("session_revoked", clock, **who, session_id=other, detail="password_changed"),
    ]


def test_what_administrators_do_to_others(app: Flask, clock: Clock, alice: Person, carol: Person) -> None:
    by = {"actor": "administrator", "actor_id": carol.id}
    there = {**by, "session_id": carol.session_id}
    dave = carol.post("/users", json={**DAVE, "role": "admin"}, **FROM).get_json()["id"]
    for changes in ({"role": "admin"}, {"is_active": False}, {"is_active": True, "role": "user"}):
        assert carol.patch(f"/users/{alice.id}", json=changes, **FROM).status_code == 200
    assert carol.delete(f"/users/{alice.id}", **FROM).status_code == 204
    assert events(app) == [
        expected("user_created", clock, **there, user_id=dave, detail="admin"),
        expected("role_changed", clock, **there, user_id=alice.id, detail="admin"),
        expected("session_revoked", clock, **by, user_id=alice.id, session_id=alice.session_id, detail="disabled"),
        expected("user_disabled", clock, **there, user_id=alice.id),
        expected("role_changed", clock, **there, user_id=alice.id, detail="user"),
        expected("user_enabled", clock, **there, user_id=alice.id),
        expected("user_deleted", clock, **there, user_id=alice.id),
    ]


def test_what_administrators_do_to_themselves(app: Flask, clock: Clock, carol: Person, join: Cast) -> None:
    join("Dave", role="admin")
    assert carol.patch(f"/users/{carol.id}", json={"role": "user"}, **FROM).status_code == 200
    who = {"user_id": carol.id, "actor": "self", "actor_id": carol.id, "session_id": carol.session_id}
    assert events(app) == [expected("role_changed", clock, **who, detail="user")]


def test_history_outlives_the_account(app: Flask, client: FlaskClient, clock: Clock, alice: Person) -> None:
    log_in(client, alice.email)
    assert alice.delete(f"/users/{alice.id}", **FROM).status_code == 204
    who = {"user_id": alice.id, "actor": "self", "actor_id": alice.id, "session_id": alice.session_id}
    assert names(app) == ["logged_in", "user_deleted"]
    assert events(app)[1] == expected("user_deleted", clock, **who)


def test_what_an_operator_does(app: Flask, clock: Clock, alice: Person) -> None:
    run = app.test_cli_runner().invoke
    made = run(args=["users", "create-admin", "--email", "dora@example.com", "--name", "Dora"], input="keys to it\n")
    for command in ("promote", "demote", "disable", "disable", "enable"):
        assert run(args=["users", command, alice.email]).exit_code == 0
    by = {"actor": "operator", "ip": None, "user_agent": None, "request_id": None}
    dora = alice.id + 1
    assert made.exit_code == 0
    assert events(app) == [
        expected("user_created", clock, **by, user_id=dora, detail="admin"),
        expected("role_changed", clock, **by, user_id=alice.id, detail="admin"),
        expected("role_changed", clock, **by, user_id=alice.id, detail="user"),
        expected("session_revoked", clock, **by, user_id=alice.id, session_id=alice.session_id, detail="disabled"),
        expected("user_disabled", clock, **by, user_id=alice.id),
        expected("user_enabled", clock, **by, user_id=alice.id),
    ]


def test_what_is_refused_leaves_no_event(app: Flask, client: FlaskClient, alice: Person, carol: Person) -> None:
    assert carol.patch(f"/users/{carol.id}", json={"role": "user"}).status_code == 409
    assert carol.delete(f"/users/{carol.id}").status_code == 409
    assert carol.delete(f"/users/{alice.id}", headers={"If-Match": '"stale"'}).status_code == 412
    assert carol.post("/users", json={**DAVE, "email": alice.email}).status_code == 409
    assert alice.patch(f"/users/{alice.id}", json={"role": "admin"}).status_code == 403
    assert client.post(f"{API}/auth/register", json={**DAVE, "email": alice.email}).status_code == 409
    assert client.post(f"{API}/auth/login", json={"email": alice.email}).status_code == 422
    weak = {"current_password": PASSWORD, "new_password": "password1"}
    assert alice.post("/auth/password", json=weak).status_code == 422
    assert names(app) == []


def test_what_fails_leaves_no_event(
    app: Flask, client: FlaskClient, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request fails after the login was recorded. Both the session and the event are rolled back."""

    def fail(*arguments: object, **options: object) -> str:
        raise RuntimeError("no key")

    monkeypatch.setattr("app.auth.views.make_refresh_token", fail)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    try:
        assert problem(log_in(client, alice.email)) == (500, "internal_error")
    finally:
        del app.config["PROPAGATE_EXCEPTIONS"]
    assert names(app) == []


def test_what_changes_nothing_leaves_no_event(app: Flask, alice: Person, carol: Person) -> None:
    for changes in ({"bio": "New"}, {"role": "user", "is_active": True}):
        assert carol.patch(f"/users/{alice.id}", json=changes).status_code == 200
    assert names(app) == []


def test_a_repeated_request_leaves_one_event(app: Flask, carol: Person) -> None:
    for _ in range(2):
        assert carol.post("/users", json=DAVE, headers={"Idempotency-Key": "once"}).status_code == 201
    assert names(app) == ["user_created"]


def test_where_from_is_cleaned_as_a_session_s_is(app: Flask, client: FlaskClient, alice: Person) -> None:
    user_agent = ("a\x00b\x1bc\x9bd\xe9" + "x" * 300).encode().decode("latin-1")
    environ = {"HTTP_USER_AGENT": user_agent, "REMOTE_ADDR": "[64:ff9b::192.0.2.7]:51820"}
    log_in(client, alice.email, environ_overrides=environ)
    log_in(client, "nobody@example.com", environ_overrides=environ)
    for event in events(app):
        assert event["user_agent"] == ("abcdé" + "x" * 300)[:255]
        assert event["ip"] == "192.0.2.7"
        assert len(event["request_id"]) == 32


def test_nothing_secret_is_stored(app: Flask, client: FlaskClient, alice: Person, carol: Person) -> None:
    answer = client.post(f"{API}/auth/register", json=DAVE).get_json()
    secrets = [PASSWORD, NEW_PASSWORD, "wrong guess", answer["access_token"], answer["refresh_token"]]
    for email in (alice.email, "stranger@example.com"):
        log_in(client, email, "wrong guess")
    tokens = log_in(client, alice.email).get_json()
    secrets += [tokens["access_token"], tokens["refresh_token"], alice.access_token, carol.access_token]
    for current in ("wrong guess", PASSWORD):
        alice.post("/auth/password", json={"current_password": current, "new_password": NEW_PASSWORD})
    refresh(client, alice.refresh_token)
    carol.patch(f"/users/{alice.id}", json={"role": "admin", "is_active": False})
    stored = str(events(app))
    assert len(events(app)) >= 8
    for secret in (*secrets, *(token.rpartition(".")[2] for token in secrets if "." in token), "$argon2"):
        assert secret not in stored
    for personal in ("@", "example", "Alice", "Dave"):
        assert personal not in stored


def test_every_name_fits_its_column() -> None:
    assert len({*EVENTS}) == len(EVENTS)
    assert max(map(len, EVENTS)) <= 32
    assert max(map(len, ACTORS)) <= 16
