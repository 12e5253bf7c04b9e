"""POST /auth/refresh: rotation, the grace period for concurrent tabs, lost responses, replay, and both expiries."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError, ProgrammingError

from app import create_app
from app.auth import sessions
from app.auth.models import GRACE_TIMES
from app.auth.sessions import GRACE_USES
from gatepost.testing.statements import counted
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


def exchange_pair(client: FlaskClient, token: str) -> tuple[str, str]:
    """Refresh successfully and return the new access token and the new refresh token."""
    response = refresh(client, token)
    assert response.status_code == 200, response.text
    return response.get_json()["access_token"], response.get_json()["refresh_token"]


def exchange(client: FlaskClient, token: str) -> str:
    """Refresh successfully, do not use the access token, and return the new refresh token."""
    return exchange_pair(client, token)[1]


def exchange_and_use(client: FlaskClient, token: str) -> str:
    """Refresh successfully, send one request with the access token, and return the new refresh token."""
    access, following = exchange_pair(client, token)
    assert get_me(client, access).status_code == 200
    return following


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
    exchange_and_use(client, alice.refresh_token)
    before = session_row(app, alice.session_id)
    clock.forward(seconds=9.9)
    again = exchange(client, alice.refresh_token)
    assert claims_of(again)["gen"] == 2
    after = session_row(app, alice.session_id)
    moved = {k for k in after._fields if getattr(after, k) != getattr(before, k)}
    assert (moved, after.grace_uses) == ({"grace_uses"}, 1)
    assert claims_of(exchange(client, again))["gen"] == 3


def test_the_window_does_not_slide(client: FlaskClient, alice: Person, clock: Clock) -> None:
    exchange_and_use(client, alice.refresh_token)
    clock.forward(seconds=6)
    exchange(client, alice.refresh_token)
    clock.forward(seconds=6)
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


def test_each_replaced_token_has_its_own_grace_period(client: FlaskClient, alice: Person, clock: Clock) -> None:
    """Rotations at 0, 4, 8, 12 and 16 s: at any time, the tokens replaced in the last 10 s are exchanged."""
    tokens = [alice.refresh_token]
    for newest in range(1, 6):
        tokens.append(exchange_and_use(client, tokens[-1]))
        for token in tokens[max(newest - 3, 0) : newest]:
            assert claims_of(exchange(client, token))["gen"] == newest + 1
        clock.forward(seconds=4)
    # The third token was replaced 12 s ago, the fourth one 8 s ago.
    clock.forward(seconds=1.9)
    exchange(client, tokens[3])
    assert problem(refresh(client, tokens[2])) == REVOKED


def test_a_token_replaced_many_generations_ago_is_exchanged_for_ten_seconds(
    client: FlaskClient, alice: Person, clock: Clock
) -> None:
    token = alice.refresh_token
    for _ in range(GRACE_TIMES + 10):
        token = exchange_and_use(client, token)
    clock.forward(seconds=9.9)
    assert claims_of(exchange(client, alice.refresh_token))["gen"] == GRACE_TIMES + 11
    clock.forward(seconds=0.1)
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


def test_more_rotations_than_the_row_dates_lengthen_no_grace_period(
    client: FlaskClient, alice: Person, clock: Clock
) -> None:
    second = token = exchange(client, alice.refresh_token)
    clock.forward(seconds=9)
    for _ in range(GRACE_TIMES + 1):
        token = exchange_and_use(client, token)
    exchange(client, second)
    # The second token was replaced a second ago, but the row does not say so any more.
    clock.forward(seconds=1)
    assert problem(refresh(client, second)) == REVOKED


def test_the_uses_of_the_grace_period_are_limited_and_the_session_lives(
    client: FlaskClient, app: Flask, alice: Person, clock: Clock
) -> None:
    following = exchange(client, alice.refresh_token)
    for _ in range(GRACE_USES):
        exchange(client, alice.refresh_token)
    for _ in range(2):
        response = refresh(client, alice.refresh_token)
        assert problem(response) == (429, "rate_limited")
        assert response.headers["Retry-After"] == "1"
        assert (response.headers["X-RateLimit-Limit"], response.headers["X-RateLimit-Remaining"]) == ("20", "0")
    assert session_row(app, alice.session_id).grace_uses == GRACE_USES
    # The next generation has uses of its own.
    exchange_and_use(client, following)
    exchange(client, alice.refresh_token)


def test_each_rotation_starts_a_new_count(client: FlaskClient, alice: Person, clock: Clock) -> None:
    token = alice.refresh_token
    for _ in range(3):
        following = exchange(client, token)
        for _ in range(GRACE_USES):
            exchange(client, token)
        token = following


def test_the_grace_period_can_be_disabled(alice: Person, app: Flask, database_url: str, clock: Clock) -> None:
    client = create_app(settings_for(database_url, refresh_grace_seconds=0)).test_client()
    exchange_and_use(client, alice.refresh_token)
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


# Lost responses


def test_a_lost_response_signs_nobody_out(client: FlaskClient, app: Flask, alice: Person, clock: Clock) -> None:
    exchange(client, alice.refresh_token)
    for wait in (11, 3600, 86400):
        clock.forward(seconds=wait)
        assert claims_of(exchange(client, alice.refresh_token))["gen"] == 2
    row = session_row(app, alice.session_id)
    assert (row.generation, row.confirmed_generation, row.grace_uses) == (2, 1, 0)


def test_retries_of_a_lost_response_are_not_counted(client: FlaskClient, alice: Person, clock: Clock) -> None:
    exchange(client, alice.refresh_token)
    clock.forward(seconds=11)
    for _ in range(GRACE_USES + 1):
        exchange(client, alice.refresh_token)


def test_several_lost_responses_in_a_row(client: FlaskClient, alice: Person, clock: Clock) -> None:
    token = alice.refresh_token
    for generation in range(2, 6):
        exchange(client, token)
        clock.forward(minutes=15)
        token = exchange(client, token)
        assert claims_of(token)["gen"] == generation


@pytest.mark.parametrize("shown", ["access token", "refresh token"])
def test_a_generation_is_confirmed_by_the_first_use_of_either_token(
    client: FlaskClient, app: Flask, alice: Person, clock: Clock, shown: str
) -> None:
    access, following = exchange_pair(client, alice.refresh_token)
    if shown == "access token":
        assert get_me(client, access).status_code == 200
    else:
        exchange(client, following)
    assert session_row(app, alice.session_id).confirmed_generation == 2
    clock.forward(seconds=10)
    assert problem(refresh(client, alice.refresh_token)) == REVOKED
    assert session_row(app, alice.session_id).revoked_reason == "replay"


def test_a_request_on_a_public_route_confirms_too(client: FlaskClient, app: Flask, alice: Person) -> None:
    access, _ = exchange_pair(client, alice.refresh_token)
    assert client.get(f"{API}/posts", headers=bearer(access)).status_code == 200
    assert session_row(app, alice.session_id).confirmed_generation == 2


def test_a_token_of_an_older_generation_confirms_nothing(
    client: FlaskClient, app: Flask, alice: Person, clock: Clock
) -> None:
    exchange(client, alice.refresh_token)
    assert get_me(client, alice.access_token).status_code == 200
    assert session_row(app, alice.session_id).confirmed_generation == 1
    clock.forward(seconds=11)
    exchange(client, alice.refresh_token)


def test_a_confirmation_is_one_write_at_the_first_request(client: FlaskClient, app: Flask, alice: Person) -> None:
    with counted(app) as statements:
        assert get_me(client, alice.access_token).status_code == 200
    assert len(statements) == 1
    with counted(app) as statements:
        access, _ = exchange_pair(client, alice.refresh_token)
    assert len(statements) == 1
    counts = []
    for _ in range(3):
        with counted(app) as statements:
            assert get_me(client, access).status_code == 200
        counts.append([statement.partition(" ")[0] for statement in statements])
    assert counts == [["SELECT", "UPDATE"], ["SELECT"], ["SELECT"]]


def test_a_read_succeeds_although_its_confirmation_fails(
    client: FlaskClient, app: Flask, alice: Person, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, _ = exchange_pair(client, alice.refresh_token)
    clock.forward(seconds=11)
    with monkeypatch.context() as patch:
        patch.setattr("app.database.executor.Executor.execute_with_short_wait", unavailable)
        assert get_me(client, access).status_code == 200
        # The row does not say that the generation was used.
        assert claims_of(exchange(client, alice.refresh_token))["gen"] == 2
    assert get_me(client, access).status_code == 200
    assert problem(refresh(client, alice.refresh_token)) == REVOKED


def unavailable(*_: object) -> None:
    """Fail as a read-only database does."""
    raise OperationalError("UPDATE", None, sqlite3.OperationalError("attempt to write a readonly database"))


def test_a_wrong_statement_is_not_hidden(
    client: FlaskClient, app: Flask, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ProgrammingError("UPDATE", None, Exception("no such function"))

    access, _ = exchange_pair(client, alice.refresh_token)
    monkeypatch.setattr("app.database.executor.Executor.execute_with_short_wait", fail)
    assert problem(get_me(client, access)) == (500, "internal_error")


# A database that lost rotations


def later(token: str) -> str:
    return reissue(token, gen=2)


def much_later(token: str) -> str:
    return reissue(token, gen=2**31 - 2)


@pytest.mark.parametrize("age", [later, much_later])
def test_a_later_generation_is_refused_and_the_session_lives(
    client: FlaskClient, app: Flask, alice: Person, age: Callable[[str], str]
) -> None:
    before = session_row(app, alice.session_id)
    assert problem(refresh(client, age(alice.refresh_token))) == REVOKED
    assert get_me(client, age(alice.access_token)).status_code == 200
    assert session_row(app, alice.session_id) == before
    exchange(client, alice.refresh_token)


# Replay


def old_token(client: FlaskClient, alice: Person, clock: Clock) -> str:
    exchange_and_use(client, alice.refresh_token)
    clock.forward(seconds=10)
    return alice.refresh_token


def older_token(client: FlaskClient, alice: Person, clock: Clock) -> str:
    exchange(client, exchange(client, alice.refresh_token))
    clock.forward(seconds=10)
    return alice.refresh_token


def oldest_token(client: FlaskClient, alice: Person, clock: Clock) -> str:
    second = exchange(client, alice.refresh_token)
    clock.forward(seconds=11)
    exchange(client, exchange(client, second))
    return alice.refresh_token


@pytest.mark.parametrize("replay", [old_token, older_token, oldest_token])
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
    token = reissue(bob.refresh_token, sid=alice.session_id, nonce=alice.grant.nonce, gen=7)
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


# Clocks that were set back


def test_a_grace_period_that_is_over_does_not_reopen_when_the_clock_is_set_back(
    alice: Person, client: FlaskClient, clock: Clock
) -> None:
    exchange_and_use(client, alice.refresh_token)
    clock.forward(hours=-2)
    assert problem(refresh(client, alice.refresh_token)) == (401, "token_revoked")


def test_a_token_that_the_clock_cannot_date_ends_no_session(
    alice: Person, client: FlaskClient, app: Flask, clock: Clock
) -> None:
    """A tab with the token just replaced looks, after the clock was set back, like a thief with an old one."""
    following = exchange_and_use(client, alice.refresh_token)
    clock.forward(seconds=-31)
    assert problem(refresh(client, alice.refresh_token)) == REVOKED
    assert session_row(app, alice.session_id).revoked_at is None
    exchange(client, following)
    # As soon as the clock can date it, it is a replay.
    clock.forward(seconds=31 + 10)
    assert problem(refresh(client, alice.refresh_token)) == REVOKED
    assert session_row(app, alice.session_id).revoked_reason == "replay"


def test_a_lost_response_signs_nobody_out_when_the_clock_is_set_back(
    alice: Person, client: FlaskClient, clock: Clock
) -> None:
    exchange(client, alice.refresh_token)
    clock.forward(hours=-2)
    exchange(client, alice.refresh_token)
