"""GET /auth/events and GET /audit: visibility, order and filters."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from app.database import db
from gatepost.testing.statements import counted
from tests.api.test_pagination import links
from tests.audit.support import add_events
from tests.auth.support import log_in
from tests.conftest import API, Clock, Person, problem

OWN = {"id", "event", "created_at", "actor", "session_id", "detail", "ip", "user_agent", "request_id"}
FROM: dict[str, Any] = {"headers": {"User-Agent": "Admin's Browser", "X-Request-ID": "admin-1"}}


def items(person: Person, path: str) -> list[dict[str, Any]]:
    """Return the items of a list."""
    response = person.get(path)
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.get_json()["items"]
    return found


def test_one_s_own_events_newest_first(client: FlaskClient, clock: Clock, alice: Person, bob: Person) -> None:
    log_in(client, alice.email, headers={"User-Agent": "Browser/1.0", "X-Request-ID": "request-1"})
    clock.forward(seconds=1)
    log_in(client, alice.email, "not the password")
    log_in(client, bob.email)
    failed, logged_in = items(alice, "/auth/events")
    assert failed.keys() == OWN
    assert logged_in == {
        "id": logged_in["id"],
        "event": "logged_in",
        "created_at": (clock.now - timedelta(seconds=1)).isoformat(timespec="microseconds")[:-6] + "Z",
        "actor": "self",
        "session_id": logged_in["session_id"],
        "detail": None,
        "ip": "127.0.0.1",
        "user_agent": "Browser/1.0",
        "request_id": "request-1",
    }
    assert isinstance(logged_in["session_id"], int)
    # The address is shown, but not the reason.
    assert (failed["event"], failed["actor"], failed["ip"]) == ("login_failed", "anonymous", "127.0.0.1")
    assert failed["detail"] is None


def test_the_user_does_not_see_the_address_of_an_administrator(alice: Person, carol: Person) -> None:
    carol.patch(f"/users/{alice.id}", json={"role": "admin"}, **FROM)
    carol.patch(f"/users/{alice.id}", json={"role": "user"}, **FROM)
    for event in items(alice, "/auth/events"):
        assert (event["event"], event["actor"]) == ("role_changed", "administrator")
        assert event["detail"] in ("user", "admin")
        assert [event[name] for name in ("ip", "user_agent", "request_id", "session_id")] == [None] * 4
    exported = alice.get(f"/users/{alice.id}/export").get_json()["auth_events"]
    assert "Browser" not in str(exported)
    assert exported == items(alice, "/auth/events?sort=created_at")


def test_the_user_sees_which_sessions_an_administrator_ended(app: Flask, alice: Person, carol: Person) -> None:
    carol.patch(f"/users/{alice.id}", json={"is_active": False}, **FROM)
    carol.patch(f"/users/{alice.id}", json={"is_active": True}, **FROM)
    session = log_in(app.test_client(), alice.email).get_json()["access_token"]
    headers = {"Authorization": f"Bearer {session}"}
    seen = app.test_client().get(f"{API}/auth/events", headers=headers).get_json()["items"]
    assert [(event["event"], event["session_id"] == alice.session_id) for event in seen[1:]] == [
        ("user_enabled", False),
        ("user_disabled", False),
        ("session_revoked", True),
    ]
    assert "Browser" not in str(seen[1:])


def test_an_administrator_sees_all_of_everyone_s(
    client: FlaskClient, alice: Person, bob: Person, carol: Person
) -> None:
    log_in(client, "nobody@example.com")
    log_in(client, alice.email, "not the password")
    carol.patch(f"/users/{bob.id}", json={"role": "admin"}, **FROM)
    carol.delete(f"/users/{bob.id}", **FROM)
    seen = items(carol, "/audit?sort=created_at")
    assert all(event.keys() == OWN | {"user_id", "actor_id", "email_hash"} for event in seen)
    assert [(event["event"], event["user_id"], event["actor_id"], event["detail"]) for event in seen] == [
        ("login_failed", None, None, "unknown_email"),
        ("login_failed", alice.id, None, "wrong_password"),
        ("role_changed", bob.id, carol.id, "admin"),
        ("user_deleted", bob.id, carol.id, None),
    ]
    assert [bool(event["email_hash"]) for event in seen] == [True, False, False, False]
    assert (seen[3]["user_agent"], seen[3]["request_id"]) == ("Admin's Browser", "admin-1")
    assert seen[3]["session_id"] == carol.session_id


def test_filters(app: Flask, clock: Clock, alice: Person, carol: Person) -> None:
    start = clock.now
    hour = timedelta(hours=1)
    add_events(
        app,
        clock,
        {"user_id": 1, "actor_id": 1, "detail": "a", "created_at": start},
        {"user_id": 1, "actor_id": 2, "detail": "b", "created_at": start + hour, "event": "role_changed"},
        {"user_id": 2, "actor_id": 2, "detail": "c", "created_at": start + 2 * hour},
        {"detail": "d", "created_at": start + 3 * hour, "event": "login_failed"},
    )
    after = (start + hour).isoformat().replace("+00:00", "Z")
    for query, details in (
        ("", "dcba"),
        ("user_id=1", "ba"),
        ("actor_id=2", "cb"),
        ("event=logged_in", "ca"),
        ("user_id=1&event=role_changed", "b"),
        (f"created_after={after}", "dc"),
        (f"created_before={after}", "a"),
        (f"created_after={after}&event=login_failed&sort=created_at", "d"),
        ("user_id=99", ""),
    ):
        assert "".join(event["detail"] for event in items(carol, f"/audit?{query}")) == details, query
    for query, details in (("", "ba"), (f"created_after={after}", ""), (f"created_before={after}&limit=1", "a")):
        assert "".join(event["detail"] for event in items(alice, f"/auth/events?{query}")) == details, query


@pytest.mark.parametrize("path", ["/auth/events", "/audit"])
def test_pages_meet_every_event_once(app: Flask, clock: Clock, carol: Person, path: str) -> None:
    # Many events with the same time.
    add_events(app, clock, *({"user_id": carol.id, "detail": str(n)} for n in range(25)))
    for sort in ("created_at", "-created_at"):
        seen, url = [], f"{path}?limit=10&sort={sort}"
        while url:
            with counted(app) as statements:
                response = carol.get(url)
            assert len(statements) == 2, "who asks, and the page"
            seen += response.get_json()["items"]
            url = links(response).get("next", "").removeprefix(API)
        ids = [event["id"] for event in seen]
        assert len(ids) == 25
        assert ids == sorted(ids, reverse=sort == "-created_at")
    numbered = carol.get(f"{path}?page=3&limit=10").get_json()
    assert (len(numbered["items"]), numbered["pagination"]["total"]) == (5, 25)


def test_a_cursor_is_good_for_its_list_alone(app: Flask, clock: Clock, carol: Person) -> None:
    add_events(app, clock, *({"user_id": carol.id} for _ in range(3)))
    cursor = carol.get("/auth/events?limit=1").get_json()["pagination"]["next_cursor"]
    assert carol.get(f"/auth/events?limit=1&cursor={cursor}").status_code == 200
    assert problem(carol.get(f"/audit?limit=1&cursor={cursor}")) == (422, "validation_error")
    mine = carol.get(f"/audit?limit=1&user_id={carol.id}").get_json()["pagination"]["next_cursor"]
    assert problem(carol.get(f"/audit?limit=1&user_id=1&cursor={mine}x")) == (422, "validation_error")
    assert problem(carol.get(f"/audit?limit=1&cursor={mine}")) == (422, "validation_error")


@pytest.mark.parametrize("query", ["user_id=1", "event=logged_in", "actor_id=1", "sort=event", "created_after=now"])
def test_one_s_own_list_takes_no_other_filter(alice: Person, query: str) -> None:
    response = alice.get(f"/auth/events?{query}")
    assert response.get_json()["errors"].keys() == {query.partition("=")[0]}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_no_route_writes_to_it(carol: Person, method: str) -> None:
    for path in ("/audit", "/auth/events"):
        assert problem(carol.call(method, path)) == (405, "method_not_allowed")
    assert problem(carol.call(method, "/audit/1")) == (404, "not_found")


@pytest.mark.parametrize("where", ["", "WHERE user_id = 3", "WHERE actor_id = 3", "WHERE event = 'role_changed'"])
def test_each_walk_has_its_index(app: Flask, clock: Clock, where: str) -> None:
    """No plan reads or sorts rows that are not part of the page, so the last page is as fast as the first."""
    add_events(
        app,
        clock,
        *({"user_id": n % 50, "actor_id": n % 50, "created_at": clock.now - timedelta(n)} for n in range(500)),
    )
    statement = f"SELECT id FROM auth_events {where} ORDER BY created_at DESC, id DESC LIMIT 20"
    with app.app_context(), db.engine.begin() as connection:
        if connection.dialect.name == "sqlite":
            plan = str(connection.execute(text(f"EXPLAIN QUERY PLAN {statement}")).all())
            assert "USING COVERING INDEX ix_auth_events" in plan
        else:
            # The planner prefers to scan a table with so few rows.
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            connection.execute(text("SET LOCAL enable_bitmapscan = off"))
            plan = str(connection.execute(text(f"EXPLAIN {statement}")).all())
            assert "Backward using ix_auth_events" in plan
    assert "TEMP B-TREE" not in plan
    assert "Sort" not in plan


def test_long_exports_come_in_batches(
    app: Flask, clock: Clock, alice: Person, bob: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.audit.service.EXPORT_BATCH", 3)
    add_events(app, clock, *({"user_id": alice.id, "detail": str(n)} for n in range(7)), {"user_id": bob.id})
    exported = alice.get(f"/users/{alice.id}/export").get_json()["auth_events"]
    assert [event["detail"] for event in exported] == list("0123456")
