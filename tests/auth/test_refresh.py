"""POST /auth/refresh: rotation, the grace period for concurrent tabs, replay, and both expiries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.auth import sessions
from app.auth.sessions import GRACE_USES
from tests.auth.support import (
    NOT_OBJECTS,
    NOT_STRINGS,
    bearer,
    claims_of,
    get_me,
    refresh,
    reissue,
    session_row,
    set_column,
)
from tests.conftest import API, PASSWORD, Clock, Person, problem, settings_for

REVOKED = (401, "token_revoked")


def exchange(client: FlaskClient, token: str) -> str:
    """Refresh successfully and return the new refresh token."""
    response = refresh(client, token)
    assert response.status_code == 200, response.text
    return str(response.get_json()["refresh_token"])


def test_a_refresh_token_gives_a_new_pair(client: FlaskClient, alice: Person) -> None:
    response = refresh(client, alice.refresh_token)
    assert response.status_code == 200
    answer = response.get_json()
    assert answer.keys() == {"access_token", "refresh_token", "token_type", "expires_in", "refresh_expires_in"}
    assert (answer["token_type"], answer["expires_in"]) == ("Bearer", 900)
    assert get_me(client, answer["access_token"]).get_json()["id"] == alice.id
    assert claims_of(answer["refresh_token"])["gen"] == 2
    assert claims_of(answer["refresh_token"])["sid"] == alice.session_id
    assert response.headers["Cache-Control"] == "no-store"
    assert "ETag" not in response.headers


def test_the_new_access_token_is_not_fresh(client: FlaskClient, alice: Person) -> None:
    token = refresh(client, alice.refresh_token).get_json()["access_token"]
    assert claims_of(token)["fresh"] is False
    response = client.get(f"{API}/users/{alice.id}/export", headers=bearer(token))
    assert problem(response) == (401, "fresh_token_required")


def test_the_token_may_be_in_the_body(client: FlaskClient, alice: Person) -> None:
    response = client.post(f"{API}/auth/refresh", json={"refresh_token": alice.refresh_token})
    assert claims_of(response.get_json()["refresh_token"])["gen"] == 2


def test_two_tokens_are_refused_and_none_is_used(client: FlaskClient, app: Flask, alice: Person) -> None:
    token = alice.refresh_token
    response = client.post(f"{API}/auth/refresh", json={"refresh_token": token}, headers=bearer(token))
    assert problem(response) == (400, "malformed_request")
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="gatepost", error="invalid_request"')
    assert session_row(app, alice.session_id).generation == 1


@pytest.mark.parametrize("options", [{}, {"json": {}}])
def test_without_a_token_authentication_is_required(client: FlaskClient, options: dict[str, Any]) -> None:
    response = client.post(f"{API}/auth/refresh", **options)
    assert problem(response) == (401, "authentication_required")
    assert response.headers["WWW-Authenticate"] == 'Bearer realm="gatepost"'


@pytest.mark.parametrize("value", [*NOT_STRINGS, "", " ", "x" * 4097])
def test_the_token_in_the_body_must_be_text(client: FlaskClient, value: object) -> None:
    response = client.post(f"{API}/auth/refresh", json={"refresh_token": value})
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"].keys() == {"refresh_token"}


def test_unknown_fields_are_refused_and_no_token_is_used(client: FlaskClient, app: Flask, alice: Person) -> None:
    bodies: list[dict[str, Any]] = [
        {"token": alice.refresh_token},
        {"refresh_token": alice.refresh_token, "x": 1},
        {"refresh_token": alice.refresh_token, "Refresh_Token": alice.refresh_token},
    ]
    for body in bodies:
        response = client.post(f"{API}/auth/refresh", json=body)
        assert problem(response) == (422, "validation_error")
    assert session_row(app, alice.session_id).generation == 1


@pytest.mark.parametrize("body", NOT_OBJECTS)
def test_the_body_must_be_an_object(client: FlaskClient, alice: Person, body: str) -> None:
    options = {"data": body, "content_type": "application/json"}
    assert problem(client.post(f"{API}/auth/refresh", **options)) == (422, "validation_error")
    assert problem(alice.post("/auth/refresh", **options)) == (422, "validation_error")


# Grace period


def test_the_token_just_replaced_gives_the_current_generation_again(
    client: FlaskClient, app: Flask, alice: Person, clock: Clock
) -> None:
    exchange(client, alice.refresh_token)
    before = session_row(app, alice.session_id)
    clock.forward(seconds=9.9)
    again = exchange(client, alice.refresh_token)
    assert claims_of(again)["gen"] == 2
    after = session_row(app, alice.session_id)
    moved = {k for k in after._fields if getattr(after, k) != getattr(before, k)}
    assert (moved, after.grace_uses) == ({"grace_uses"}, 1)
    assert claims_of(exchange(client, again))["gen"] == 3


def test_the_window_does_not_slide(client: FlaskClient, alice: Person, clock: Clock) -> None:
    exchange(client, alice.refresh_token)
    clock.forward(seconds=6)
    exchange(client, alice.refresh_token)
    clock.forward(seconds=6)
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


def test_the_uses_of_the_grace_period_are_limited(client: FlaskClient, alice: Person, clock: Clock) -> None:
    exchange(client, alice.refresh_token)
    for _ in range(GRACE_USES):
        exchange(client, alice.refresh_token)
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


def test_each_rotation_starts_a_new_grace_period(client: FlaskClient, alice: Person, clock: Clock) -> None:
    token = alice.refresh_token
    for _ in range(3):
        following = exchange(client, token)
        for _ in range(GRACE_USES):
            exchange(client, token)
        token = following


def test_grace_covers_one_generation_only(client: FlaskClient, alice: Person, clock: Clock) -> None:
    exchange(client, exchange(client, alice.refresh_token))
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


def test_the_grace_period_can_be_disabled(alice: Person, app: Flask, database_url: str, clock: Clock) -> None:
    client = create_app(settings_for(database_url, refresh_grace_seconds=0)).test_client()
    exchange(client, alice.refresh_token)
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


# Replay


def old_token(client: FlaskClient, alice: Person, clock: Clock) -> str:
    exchange(client, alice.refresh_token)
    clock.forward(seconds=10)
    return alice.refresh_token


def older_token(client: FlaskClient, alice: Person, clock: Clock) -> str:
    exchange(client, exchange(client, alice.refresh_token))
    return alice.refresh_token


def later_token(client: FlaskClient, alice: Person, clock: Clock) -> str:
    return reissue(alice.refresh_token, gen=2)


@pytest.mark.parametrize("replay", [old_token, older_token, later_token])
def test_a_replay_ends_the_session_for_good(
    client: FlaskClient,
    app: Flask,
    alice: Person,
    clock: Clock,
    replay: Callable[[FlaskClient, Person, Clock], str],
) -> None:
    response = refresh(client, replay(client, alice, clock))
    assert problem(response) == REVOKED
    assert 'error="invalid_token"' in response.headers["WWW-Authenticate"]
    row = session_row(app, alice.session_id)
    assert (row.revoked_at, row.revoked_reason) == (clock.now, "replay")
    # The access token and the newest refresh token are revoked too.
    assert problem(get_me(client, alice.access_token)) == REVOKED
    assert problem(refresh(client, reissue(alice.refresh_token, gen=row.generation))) == REVOKED


def test_a_replay_ends_no_other_session(client: FlaskClient, alice: Person, bob: Person, clock: Clock) -> None:
    other = client.post(f"{API}/auth/login", json={"email": alice.email, "password": PASSWORD}).get_json()
    refresh(client, older_token(client, alice, clock))
    assert get_me(client, other["access_token"]).status_code == 200
    assert get_me(client, bob.access_token).status_code == 200


def test_revocation_is_checked_before_grace(client: FlaskClient, app: Flask, alice: Person, clock: Clock) -> None:
    following = exchange(client, alice.refresh_token)
    assert client.post(f"{API}/auth/logout", headers=bearer(following)).status_code == 204
    assert problem(refresh(client, alice.refresh_token)) == REVOKED
    assert session_row(app, alice.session_id).revoked_reason == "logout"


def test_a_token_for_another_users_session_changes_nothing(
    client: FlaskClient, app: Flask, alice: Person, bob: Person
) -> None:
    token = reissue(bob.refresh_token, sid=alice.session_id, gen=7)
    assert problem(refresh(client, token)) == REVOKED
    assert session_row(app, alice.session_id).revoked_at is None
    assert exchange(client, alice.refresh_token)


# Expiry


def test_an_idle_session_expires(client: FlaskClient, alice: Person, clock: Clock) -> None:
    clock.forward(days=6, hours=23)
    token = exchange(client, alice.refresh_token)
    clock.forward(days=7)
    assert problem(refresh(client, token)) == REVOKED
    assert problem(get_me(client, alice.access_token)) == REVOKED


def test_a_session_ends_after_30_days_however_busy(
    client: FlaskClient, app: Flask, alice: Person, clock: Clock
) -> None:
    ends = session_row(app, alice.session_id).expires_at
    token, access, lives = alice.refresh_token, "", []
    for _ in range(5):
        clock.forward(days=5.99)
        answer = refresh(client, token).get_json()
        token, access = answer["refresh_token"], answer["access_token"]
        lives.append(answer["refresh_expires_in"])
        claims = claims_of(token)
        assert claims["exp"] - claims["iat"] == pytest.approx(answer["refresh_expires_in"], abs=1)
    week = timedelta(days=7).total_seconds()
    assert lives[:3] == [week] * 3
    assert clock.now + timedelta(seconds=lives[4]) == pytest.approx(ends, abs=timedelta(seconds=1))
    assert session_row(app, alice.session_id).idle_expires_at == ends
    clock.now = ends - timedelta(seconds=1)
    assert get_me(client, access).status_code == 200
    clock.now = ends
    assert problem(get_me(client, access)) == REVOKED
    assert problem(refresh(client, token)) == REVOKED


def test_the_grace_period_ends_with_the_session(client: FlaskClient, alice: Person, app: Flask, clock: Clock) -> None:
    for _ in range(4):
        clock.forward(days=6)
        alice.refresh_token = exchange(client, alice.refresh_token)
    clock.now = session_row(app, alice.session_id).expires_at - timedelta(seconds=5)
    exchange(client, alice.refresh_token)
    clock.forward(seconds=5)
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


# The user of the session


def test_a_disabled_user_cannot_refresh(client: FlaskClient, alice: Person, carol: Person) -> None:
    carol.patch(f"/users/{alice.id}", json={"is_active": False})
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


def test_a_user_disabled_by_sql_cannot_refresh(client: FlaskClient, app: Flask, alice: Person) -> None:
    replaced, alice.refresh_token = alice.refresh_token, exchange(client, alice.refresh_token)
    set_column(app, alice, is_active=False)
    for token in (alice.refresh_token, replaced):
        assert problem(refresh(client, token)) == REVOKED
    assert session_row(app, alice.session_id).generation == 2
    # This was no replay: the session is valid again once the account is enabled.
    set_column(app, alice, is_active=True)
    exchange(client, alice.refresh_token)


def test_enabling_an_account_during_a_refresh_is_no_replay(
    client: FlaskClient, app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        # Disabled for the UPDATE of the rotation, enabled for the SELECT that looks for the reason.
        patch.setattr(sessions, "write_one", lambda *_, **__: None)
        assert problem(refresh(client, alice.refresh_token)) == REVOKED
    assert session_row(app, alice.session_id).revoked_at is None
    exchange(client, alice.refresh_token)


def test_a_deleted_user_cannot_refresh(client: FlaskClient, alice: Person, carol: Person) -> None:
    assert carol.delete(f"/users/{alice.id}").status_code == 204
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


def test_last_used_moves_with_each_refresh(client: FlaskClient, alice: Person, clock: Clock) -> None:
    clock.forward(hours=1)
    exchange(client, alice.refresh_token)
    (item,) = alice.get("/auth/sessions").get_json()["items"]
    assert item["last_used_at"] > item["created_at"]


def test_a_grace_period_that_is_over_does_not_reopen_when_the_clock_is_set_back(
    alice: Person, client: FlaskClient, clock: Clock
) -> None:
    exchange(client, alice.refresh_token)
    clock.forward(hours=-2)
    assert problem(refresh(client, alice.refresh_token)) == (401, "token_revoked")
