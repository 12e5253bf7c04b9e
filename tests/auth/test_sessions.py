"""GET and DELETE /auth/sessions, DELETE /auth/sessions/{id}."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from app.audit.models import AuthEvent
from app.database import fetch_all
from gatepost.testing.statements import counted
from tests.auth.support import bearer, claims_of, get_me, log_in, refresh, session_row
from tests.conftest import API, PASSWORD, Clock, Person, problem

PATH = "/auth/sessions"
NOT_IDS = ["abc", "0", "-1", "+1", "1.0", "1e0", "01", " 1", "１", "٣", "0x1", str(2**63), str(10**40), "null"]


def items_of(person: Person, query: str = "") -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = person.get(PATH + query).get_json()["items"]
    return items


def another_session(client: FlaskClient, person: Person) -> tuple[int, str]:
    """Log in again and return the id of the new session and its access token."""
    token = log_in(client, person.email).get_json()["access_token"]
    return claims_of(token)["sid"], token


# Listing


def test_the_live_sessions_are_listed_newest_first(client: FlaskClient, alice: Person, bob: Person) -> None:
    second, _ = another_session(client, alice)
    response = alice.get(PATH)
    assert response.status_code == 200
    assert response.get_json()["pagination"] == {"limit": 20, "next_cursor": None, "prev_cursor": None}
    items = items_of(alice)
    assert [(item["id"], item["current"]) for item in items] == [(second, False), (alice.session_id, True)]
    assert items[0].keys() == {
        *("id", "created_at", "last_used_at", "expires_at"),
        *("ip", "user_agent", "current"),
    }
    assert items[1]["user_agent"] == "pytest"
    assert items[1]["ip"] == "127.0.0.1"


def test_ended_sessions_are_not_listed(client: FlaskClient, alice: Person, clock: Clock) -> None:
    ended, _ = another_session(client, alice)
    alice.delete(f"{PATH}/{ended}")
    clock.forward(days=6)
    refreshed = refresh(client, alice.refresh_token)
    idle_until_now, _ = another_session(client, alice)
    assert refreshed.status_code == 200
    assert [item["id"] for item in items_of(alice)] == [idle_until_now, alice.session_id]
    clock.forward(days=1)
    assert [item["id"] for item in items_of(alice)] == [idle_until_now, alice.session_id]


def test_expires_at_is_the_earlier_of_both_expiries(
    client: FlaskClient, alice: Person, app: Flask, clock: Clock
) -> None:
    for _ in range(4):
        clock.forward(days=6)
        alice.refresh_token = refresh(client, alice.refresh_token).get_json()["refresh_token"]
    (item,) = items_of(alice)
    ends = session_row(app, alice.session_id).expires_at
    # 24 days have passed, so that the absolute expiry comes before the idle expiry.
    assert item["expires_at"] == ends.isoformat(timespec="microseconds").replace("+00:00", "Z")


def test_pagination_by_cursor_and_by_page(client: FlaskClient, alice: Person) -> None:
    ids = [alice.session_id, *(another_session(client, alice)[0] for _ in range(4))]
    walked, query = [], "?limit=2"
    while query:
        page = alice.get(PATH + query).get_json()
        walked += [item["id"] for item in page["items"]]
        cursor = page["pagination"]["next_cursor"]
        query = f"?limit=2&cursor={cursor}" if cursor else ""
    assert walked == ids[::-1]
    page = alice.get(f"{PATH}?limit=2&page=3&sort=created_at").get_json()
    assert [item["id"] for item in page["items"]] == [ids[4]]
    assert page["pagination"] == {"limit": 2, "page": 3, "pages": 3, "total": 5}


def test_a_cursor_of_another_user_shows_only_own_sessions(client: FlaskClient, alice: Person, bob: Person) -> None:
    for _ in range(2):
        another_session(client, alice)
    cursor = alice.get(f"{PATH}?limit=1").get_json()["pagination"]["next_cursor"]
    # The cursor is valid, but the list has only the caller's sessions.
    assert all(item["id"] == bob.session_id for item in items_of(bob, f"?cursor={cursor}"))


def test_the_list_has_a_weak_etag_and_is_not_cacheable(alice: Person) -> None:
    response = alice.get(PATH)
    assert response.headers["ETag"].startswith('W/"')
    assert response.headers["Cache-Control"] == "no-store"
    unchanged = alice.get(PATH, headers={"If-None-Match": response.headers["ETag"]})
    assert (unchanged.status_code, unchanged.data) == (304, b"")


def test_head_answers_as_get_without_a_body(alice: Person) -> None:
    head = alice.call("HEAD", PATH)
    assert (head.status_code, head.data) == (200, b"")
    assert head.headers["ETag"] == alice.get(PATH).headers["ETag"]


def test_a_list_takes_one_query_besides_that_for_the_caller(client: FlaskClient, app: Flask, alice: Person) -> None:
    for _ in range(3):
        another_session(client, alice)
    with counted(app) as statements:
        assert len(items_of(alice)) == 4
    assert len(statements) == 2


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=1.0", "limit"),
        ("limit=1&limit=1", "limit"),
        ("page=0", "page"),
        ("page=502", "page"),
        ("sort=user_agent", "sort"),
        ("sort=--created_at", "sort"),
        ("cursor=abc", "cursor"),
        ("cursor=", "cursor"),
        ("user_id=1", "user_id"),
        ("include_current=true", "include_current"),
    ],
)
def test_invalid_queries_are_refused(alice: Person, query: str, field: str) -> None:
    response = alice.get(f"{PATH}?{query}")
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"].keys() == {field}


# Ending one


def test_a_user_can_end_a_session(client: FlaskClient, app: Flask, alice: Person) -> None:
    ended, token = another_session(client, alice)
    response = alice.delete(f"{PATH}/{ended}")
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Cache-Control"] == "no-store"
    assert problem(get_me(client, token)) == (401, "token_revoked")
    assert [item["id"] for item in items_of(alice)] == [alice.session_id]
    assert session_row(app, ended).revoked_reason == "ended"


def test_the_current_session_can_be_ended(alice: Person) -> None:
    assert alice.delete(f"{PATH}/{alice.session_id}").status_code == 204
    assert problem(alice.get("/auth/me")) == (401, "token_revoked")


def test_an_ended_session_is_not_found(client: FlaskClient, alice: Person, clock: Clock) -> None:
    ended, _ = another_session(client, alice)
    alice.delete(f"{PATH}/{ended}")
    assert problem(alice.delete(f"{PATH}/{ended}")) == (404, "not_found")
    clock.forward(days=1)
    idle, _ = another_session(client, alice)
    for _ in range(2):
        clock.forward(days=4)
        alice.refresh_token = refresh(client, alice.refresh_token).get_json()["refresh_token"]
    assert problem(alice.delete(f"{PATH}/{idle}")) == (404, "not_found")


def test_the_session_of_another_is_not_found_even_by_an_administrator(
    bob: Person, alice: Person, carol: Person
) -> None:
    for stranger in (bob, carol):
        assert problem(stranger.delete(f"{PATH}/{alice.session_id}")) == (404, "not_found")
    assert alice.get("/auth/me").status_code == 200


@pytest.mark.parametrize("session_id", [*NOT_IDS, "999", str(2**63 - 1)])
def test_an_unknown_session_is_not_found(alice: Person, session_id: str) -> None:
    assert problem(alice.delete(f"{PATH}/{session_id}")) == (404, "not_found")


@pytest.mark.parametrize("session_id", ["1", *NOT_IDS])
def test_an_anonymous_request_does_not_reveal_whether_a_session_exists(
    client: FlaskClient, alice: Person, session_id: str
) -> None:
    response = client.delete(f"{API}{PATH}/{session_id}")
    assert problem(response) == (401, "authentication_required")


def test_one_session_can_not_be_read(alice: Person) -> None:
    response = alice.get(f"{PATH}/{alice.session_id}")
    assert problem(response) == (405, "method_not_allowed")
    assert {method.strip() for method in response.headers["Allow"].split(",")} == {"DELETE", "OPTIONS"}


# Ending many


def test_all_but_the_current_one_end(client: FlaskClient, alice: Person, bob: Person) -> None:
    tokens = [another_session(client, alice)[1] for _ in range(3)]
    response = alice.delete(PATH)
    assert (response.status_code, response.data) == (204, b"")
    assert [get_me(client, token).status_code for token in tokens] == [401] * 3
    assert [item["current"] for item in items_of(alice)] == [True]
    assert bob.get("/auth/me").status_code == 200


def test_the_first_reason_of_an_end_is_kept(client: FlaskClient, app: Flask, alice: Person, clock: Clock) -> None:
    session_id, token = another_session(client, alice)
    client.post(f"{API}/auth/logout", headers=bearer(token))
    ended = session_row(app, session_id)
    clock.forward(minutes=1)
    alice.delete(PATH)
    assert session_row(app, session_id) == ended
    assert ended.revoked_reason == "logout"


def end_all_but_this(person: Person) -> None:
    assert person.delete(PATH).status_code == 204


def end_all(person: Person) -> None:
    assert person.delete(f"{PATH}?include_current=true").status_code == 204


def change_password(person: Person) -> None:
    body = {"current_password": PASSWORD, "new_password": "staple of a new battery"}
    assert person.post("/auth/password", json=body).status_code == 204


@pytest.mark.parametrize("end", [end_all_but_this, end_all, change_password])
def test_sessions_that_expired_are_neither_ended_nor_recorded(
    client: FlaskClient, app: Flask, alice: Person, clock: Clock, end: Callable[[Person], None]
) -> None:
    expired, _ = another_session(client, alice)
    clock.forward(days=6)
    alice.refresh_token = refresh(client, alice.refresh_token).get_json()["refresh_token"]
    live, token = another_session(client, alice)
    clock.forward(days=2)
    end(alice)
    assert session_row(app, expired).revoked_at is None
    assert session_row(app, live).revoked_at is not None
    assert problem(get_me(client, token)) == (401, "token_revoked")
    events = revocations_of(app, alice)
    assert live in events
    assert expired not in events


def test_disabling_an_account_records_no_end_of_an_expired_session(
    client: FlaskClient, app: Flask, alice: Person, carol: Person, clock: Clock
) -> None:
    clock.forward(days=6)
    carol.refresh_token = refresh(client, carol.refresh_token).get_json()["refresh_token"]
    live, _ = another_session(client, alice)
    clock.forward(days=2)
    assert carol.patch(f"/users/{alice.id}", json={"is_active": False}).status_code == 200
    assert revocations_of(app, alice) == [live]


def revocations_of(app: Flask, person: Person) -> list[int]:
    """Return the sessions whose end the audit log records."""
    with app.app_context():
        ended = select(AuthEvent.session_id).where(AuthEvent.user_id == person.id, AuthEvent.event == "session_revoked")
        return [row.session_id for row in fetch_all(ended)]


def test_without_other_sessions_it_succeeds(alice: Person) -> None:
    assert alice.delete(PATH).status_code == 204
    assert alice.get("/auth/me").status_code == 200


@pytest.mark.parametrize(("flag", "status"), [("true", 401), ("false", 200)])
def test_include_current_ends_the_current_session_too(
    client: FlaskClient, alice: Person, flag: str, status: int
) -> None:
    _, token = another_session(client, alice)
    assert alice.delete(f"{PATH}?include_current={flag}").status_code == 204
    assert problem(get_me(client, token)) == (401, "token_revoked")
    assert alice.get("/auth/me").status_code == status


@pytest.mark.parametrize("flag", ["", "1", "True", "yes", "null", "true&include_current=true"])
def test_the_flag_must_be_a_boolean_sent_once(client: FlaskClient, alice: Person, flag: str) -> None:
    _, token = another_session(client, alice)
    response = alice.delete(f"{PATH}?include_current={flag}")
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"].keys() == {"include_current"}
    assert get_me(client, token).status_code == 200


@pytest.mark.parametrize("path", [PATH, f"{PATH}/1"])
def test_unknown_parameters_and_bodies_are_refused(alice: Person, path: str) -> None:
    assert problem(alice.delete(path, json={"include_current": True})) == (422, "validation_error")
    assert problem(alice.delete(f"{path}?all=true")) == (422, "validation_error")
    assert alice.get("/auth/me").status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_anonymous_request_is_401(client: FlaskClient, method: str) -> None:
    assert problem(client.open(API + PATH, method=method)) == (401, "authentication_required")


def test_a_refresh_token_is_refused(client: FlaskClient, alice: Person) -> None:
    response = client.delete(API + PATH, headers=bearer(alice.refresh_token))
    assert problem(response) == (401, "token_invalid")


@pytest.mark.parametrize("path", ["/auth/sessions", "/auth/sessions/{id}"])
@pytest.mark.parametrize(("condition", "status"), [('"x"', 412), ('W/"x"', 412), ("", 412), ("*", 204)])
def test_conditional_requests_on_sessions_fail(alice: Person, path: str, condition: str, status: int) -> None:
    response = alice.delete(path.format(id=alice.session_id), headers={"If-Match": condition})
    assert response.status_code == status
