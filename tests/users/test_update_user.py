"""PUT and PATCH /users/{id}."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.auth.models import Session
from app.users.models import User
from gatepost.testing.rows import count_rows
from tests.conftest import API, PASSWORD, Cast, Clock, Person, problem

BOTH = pytest.mark.parametrize("method", ["PUT", "PATCH"])
PROFILE = {"name": "Alicia", "bio": "I write.\nAnd read."}


def path_of(person: Person) -> str:
    """Return the path of a user, relative to the API's base path."""
    return f"/users/{person.id}"


@BOTH
def test_users_change_their_profiles(alice: Person, method: str, clock: Clock) -> None:
    before = alice.get(path_of(alice)).get_json()
    clock.forward(seconds=1)
    response = alice.call(method, path_of(alice), json=PROFILE)
    after = response.get_json()
    assert response.status_code == 200
    assert after == before | PROFILE | {"updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    read = alice.get(path_of(alice))
    assert (read.get_json(), read.headers["ETag"]) == (after, response.headers["ETag"])
    assert response.headers["Cache-Control"] == "no-store"


@BOTH
def test_admins_change_anyone(alice: Person, carol: Person, method: str) -> None:
    changes = PROFILE | {"role": "admin", "is_active": True}
    after = carol.call(method, path_of(alice), json=changes).get_json()
    assert {name: after[name] for name in changes} == changes
    assert alice.get("/users").get_json()["items"][0]["email"] == "alice@example.com"


@BOTH
@pytest.mark.parametrize("body", [PROFILE, {"name": "Eve", "role": "admin"}])
def test_a_stranger_may_not(alice: Person, bob: Person, method: str, body: dict[str, Any]) -> None:
    before = alice.get(path_of(alice)).data
    assert problem(bob.call(method, path_of(alice), json=body)) == (403, "forbidden")
    assert problem(bob.call(method, "/users/999", json=body)) == (403, "forbidden")
    assert alice.get(path_of(alice)).data == before


@BOTH
@pytest.mark.parametrize(
    "extra", [{"role": "admin"}, {"role": "user"}, {"is_active": False}, {"is_active": True}], ids=repr
)
def test_role_and_standing_are_an_admin_s(alice: Person, method: str, extra: dict[str, Any]) -> None:
    before = alice.get(path_of(alice)).data
    assert problem(alice.call(method, path_of(alice), json=PROFILE | extra)) == (403, "forbidden")
    assert alice.get(path_of(alice)).data == before


@BOTH
@pytest.mark.parametrize(
    ("changes", "errors"),
    [
        ({"name": "A"}, {"name": ["Must have at least 2 characters."]}),
        ({"name": ""}, {"name": ["Must have at least 2 characters."]}),
        ({"name": "  "}, {"name": ["Must not be blank."]}),
        ({"name": "x" * 81}, {"name": ["Must have at most 80 characters."]}),
        ({"bio": "x" * 501}, {"bio": ["Must have at most 500 characters."]}),
        ({"role": "root"}, {"role": ["Must be one of: user, admin."]}),
        ({"is_active": "false"}, {"is_active": ["Must be true or false."]}),
        ({"is_active": 0}, {"is_active": ["Must be true or false."]}),
        ({"name_key": "x"}, {"name_key": ["Unknown field."]}),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_bad_change_changes_nothing(
    alice: Person, carol: Person, method: str, changes: dict[str, Any], errors: dict[str, Any]
) -> None:
    before = alice.get(path_of(alice)).data
    response = carol.call(method, path_of(alice), json=PROFILE | changes)
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"] == errors
    assert alice.get(path_of(alice)).data == before


def test_put_needs_a_name_and_resets_the_bio(alice: Person) -> None:
    alice.patch(path_of(alice), json={"bio": "Hello"})
    response = alice.put(path_of(alice), json={"bio": "x"})
    assert response.get_json()["errors"] == {"name": ["Missing data for required field."]}
    assert alice.put(path_of(alice), json={"name": "Alice"}).get_json()["bio"] == ""


def test_put_leaves_role_and_standing(carol: Person, join: Cast) -> None:
    dora = join("Dora", role="admin")
    after = carol.put(path_of(dora), json={"name": "Dora"}).get_json()
    assert (after["role"], after["is_active"]) == ("admin", True)


@pytest.mark.parametrize("bio", ["", "x" * 500, "😀" * 500, "tab\tand\r\nlines", "   "])
def test_a_bio_is_kept_as_sent(alice: Person, bio: str) -> None:
    assert alice.patch(path_of(alice), json={"bio": bio}).get_json()["bio"] == bio
    assert alice.get(path_of(alice)).get_json()["bio"] == bio


@pytest.mark.parametrize("body", [{}, {"name": "Alice"}, {"bio": ""}])
def test_a_change_to_the_same_is_none(alice: Person, body: dict[str, str], clock: Clock) -> None:
    before = alice.get(path_of(alice)).data
    clock.forward(seconds=1)
    assert alice.patch(path_of(alice), json=body).data == before


def test_a_new_name_is_found(alice: Person) -> None:
    alice.patch(path_of(alice), json={"name": "Zoë"})
    assert [user["name"] for user in alice.get("/users?q=ZO%C3%8B").get_json()["items"]] == ["Zoë"]
    assert alice.get("/users?q=alice").get_json()["items"] == []


@BOTH
@pytest.mark.parametrize("user_id", ["999", "abc", str(2**63)])
def test_a_missing_user_is_not_found_for_an_admin(carol: Person, method: str, user_id: str) -> None:
    assert problem(carol.call(method, f"/users/{user_id}", json=PROFILE)) == (404, "not_found")


# Role and is_active


@pytest.mark.parametrize(
    "body", [{"role": "user"}, {"is_active": False}, {"role": "user", "is_active": False}], ids=repr
)
def test_the_last_admin_stays(alice: Person, carol: Person, join: Cast, body: dict[str, Any]) -> None:
    disabled = join("Dora", role="admin")
    assert carol.patch(path_of(disabled), json={"is_active": False}).status_code == 200
    before = carol.get(path_of(carol)).data
    assert problem(carol.patch(path_of(carol), json=body)) == (409, "last_admin")
    assert problem(carol.put(path_of(carol), json={"name": "Carol"} | body)) == (409, "last_admin")
    assert carol.get(path_of(carol)).data == before


@pytest.mark.parametrize("body", [{"role": "user"}, {"is_active": False}], ids=repr)
def test_an_admin_may_go_when_another_stays(carol: Person, join: Cast, body: dict[str, Any]) -> None:
    dora = join("Dora", role="admin")
    assert carol.patch(path_of(carol), json=body).status_code == 200
    assert problem(dora.patch(path_of(dora), json=body)) == (409, "last_admin")


def test_a_new_role_acts_on_the_next_request(alice: Person, carol: Person) -> None:
    assert problem(alice.post("/users", json={})) == (403, "forbidden")
    carol.patch(path_of(alice), json={"role": "admin"})
    assert problem(alice.post("/users", json={})) == (422, "validation_error")
    alice.patch(path_of(carol), json={"role": "user"})
    assert problem(carol.post("/users", json={})) == (403, "forbidden")


def test_a_disabled_user_is_out_at_once_and_for_good(
    alice: Person, carol: Person, client: FlaskClient, app: Flask
) -> None:
    assert carol.patch(path_of(alice), json={"is_active": False}).get_json()["is_active"] is False
    assert problem(alice.get("/auth/me")) == (401, "token_revoked")
    assert problem(alice.get("/posts")) == (401, "token_revoked")
    refresh = client.post(API + "/auth/refresh", json={"refresh_token": alice.refresh_token})
    assert problem(refresh) == (401, "token_revoked")
    login = client.post(API + "/auth/login", json={"email": alice.email, "password": PASSWORD})
    assert problem(login) == (401, "invalid_credentials")
    assert count_rows(app, Session, user_id=alice.id, revoked_reason="disabled") == 1
    carol.patch(path_of(alice), json={"is_active": True})
    assert problem(alice.get("/auth/me")) == (401, "token_revoked")
    login = client.post(API + "/auth/login", json={"email": alice.email, "password": PASSWORD})
    assert login.status_code == 200


def test_what_is_refused_writes_nothing(alice: Person, app: Flask) -> None:
    alice.patch(path_of(alice), json={"name": "Alicia", "role": "admin"})
    assert count_rows(app, User, role="admin") == 0
    assert count_rows(app, User, name="Alicia") == 0
