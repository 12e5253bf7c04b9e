"""GET and DELETE /users/{id}/sessions, by administrators."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.audit.models import AuthEvent
from gatepost.testing.rows import count_rows
from tests.auth.support import log_in
from tests.conftest import API, Person, problem

METHODS = ("GET", "DELETE")


def test_an_admin_sees_what_the_owner_sees(client: FlaskClient, alice: Person, bob: Person, carol: Person) -> None:
    log_in(client, alice.email)
    theirs = carol.get(f"/users/{alice.id}/sessions").get_json()
    own = alice.get("/auth/sessions").get_json()
    assert len(theirs["items"]) == 2
    assert [item.pop("current") for item in theirs["items"]] == [False, False]
    assert [item.pop("current") for item in own["items"]] == [False, True]
    assert theirs == own


def test_the_admin_s_own_session_is_current(carol: Person) -> None:
    [item] = carol.get(f"/users/{carol.id}/sessions").get_json()["items"]
    assert (item["id"], item["current"]) == (carol.session_id, True)


def test_a_list_has_pages(client: FlaskClient, alice: Person, carol: Person) -> None:
    log_in(client, alice.email)
    first = carol.get(f"/users/{alice.id}/sessions?limit=1&sort=created_at").get_json()
    assert [item["id"] for item in first["items"]] == [alice.session_id]
    cursor = first["pagination"]["next_cursor"]
    query = f"?limit=1&sort=created_at&cursor={cursor}"
    assert len(carol.get(f"/users/{alice.id}/sessions{query}").get_json()["items"]) == 1
    # A cursor belongs to one user's list.
    assert problem(carol.get(f"/users/{carol.id}/sessions{query}")) == (422, "validation_error")


def test_an_admin_ends_one_session(app: Flask, client: FlaskClient, alice: Person, carol: Person) -> None:
    other = log_in(client, alice.email).get_json()["access_token"]
    path = f"/users/{alice.id}/sessions/{alice.session_id}"
    response = carol.delete(path)
    assert (response.status_code, response.data) == (204, b"")
    assert problem(alice.get("/auth/me")) == (401, "token_revoked")
    assert client.get(f"{API}/auth/me", headers={"Authorization": f"Bearer {other}"}).status_code == 200
    assert problem(carol.delete(path)) == (404, "not_found")
    event = {"event": "session_revoked", "user_id": alice.id, "session_id": alice.session_id}
    assert count_rows(app, AuthEvent, **event, actor="administrator", actor_id=carol.id, detail="ended") == 1
    assert count_rows(app, AuthEvent, event="session_revoked") == 1


def test_an_admin_ends_all_sessions(app: Flask, client: FlaskClient, alice: Person, bob: Person, carol: Person) -> None:
    log_in(client, alice.email)
    assert carol.delete(f"/users/{alice.id}/sessions").status_code == 204
    assert problem(alice.get("/auth/me")) == (401, "token_revoked")
    assert carol.get(f"/users/{alice.id}/sessions").get_json()["items"] == []
    assert count_rows(app, AuthEvent, event="session_revoked", user_id=alice.id, actor_id=carol.id) == 2
    assert bob.get("/auth/me").status_code == 200
    # Nothing is left to end: no further event.
    assert carol.delete(f"/users/{alice.id}/sessions").status_code == 204
    assert count_rows(app, AuthEvent, event="session_revoked") == 2


def test_an_admin_may_end_all_of_their_own(carol: Person) -> None:
    assert carol.delete(f"/users/{carol.id}/sessions").status_code == 204
    assert problem(carol.get("/auth/me")) == (401, "token_revoked")


def test_a_session_of_another_user_is_not_found(alice: Person, bob: Person, carol: Person) -> None:
    for session_id in (bob.session_id, 999, "abc"):
        assert problem(carol.delete(f"/users/{alice.id}/sessions/{session_id}")) == (404, "not_found")
    assert bob.get("/auth/me").status_code == 200


@pytest.mark.parametrize("user_id", ["999", "abc", str(2**63)])
def test_an_unknown_user_is_not_found(carol: Person, user_id: str) -> None:
    for method in METHODS:
        assert problem(carol.call(method, f"/users/{user_id}/sessions")) == (404, "not_found")
    assert problem(carol.delete(f"/users/{user_id}/sessions/{carol.session_id}")) == (404, "not_found")


def test_only_admins_may(client: FlaskClient, alice: Person, bob: Person) -> None:
    paths = [(method, f"/users/{alice.id}/sessions") for method in METHODS]
    for method, path in [*paths, ("DELETE", f"/users/{alice.id}/sessions/{alice.session_id}")]:
        for caller in (alice, bob):
            assert problem(caller.call(method, path)) == (403, "forbidden")
        assert problem(client.open(API + path, method=method)) == (401, "authentication_required")
    assert alice.get("/auth/me").status_code == 200


def test_a_tag_changes_nothing(alice: Person, carol: Person) -> None:
    for path in ("", f"/{alice.session_id}"):
        response = carol.delete(f"/users/{alice.id}/sessions{path}", headers={"If-Match": '"old"'})
        assert problem(response) == (412, "precondition_failed")
    assert alice.get("/auth/me").status_code == 200
