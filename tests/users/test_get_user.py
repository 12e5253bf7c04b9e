"""GET /users/{id}."""

from __future__ import annotations

import pytest
from flask import Flask
from flask.testing import FlaskClient

from gatepost.testing.statements import counted
from tests.conftest import API, Person, problem
from tests.users.test_list_users import PRIVATE, PUBLIC


@pytest.mark.parametrize(("user", "members"), [("alice", PRIVATE), ("bob", PUBLIC), ("carol", PRIVATE)])
def test_private_members_are_shown_to_self_and_administrators(
    request: pytest.FixtureRequest, alice: Person, user: str, members: list[str]
) -> None:
    caller: Person = request.getfixturevalue(user)
    response = caller.get(f"/users/{alice.id}")
    assert sorted(response.get_json()) == sorted(members)
    assert response.get_json()["id"] == alice.id
    assert response.headers["Cache-Control"] == "no-store"


def test_anyone_sees_what_is_public(client: FlaskClient, alice: Person) -> None:
    response = client.get(f"{API}/users/{alice.id}")
    assert sorted(response.get_json()) == sorted(PUBLIC)
    assert response.headers["Cache-Control"] == "no-cache"
    assert "Authorization" in response.vary


def test_one_user_reads_the_same_everywhere(alice: Person) -> None:
    one = alice.get(f"/users/{alice.id}")
    me = alice.get("/auth/me")
    assert (one.data, one.headers["ETag"]) == (me.data, me.headers["ETag"])


def test_what_others_see_has_another_tag(client: FlaskClient, alice: Person) -> None:
    private = alice.get(f"/users/{alice.id}").headers["ETag"]
    response = client.get(f"{API}/users/{alice.id}", headers={"If-None-Match": private})
    assert response.status_code == 200


@pytest.mark.parametrize("user_id", ["0", "999", "-1", "01", "abc", "me", "٣", str(2**63 - 1), str(2**63), "9" * 5000])
def test_a_missing_user_is_not_found(client: FlaskClient, alice: Person, user_id: str) -> None:
    path = f"/users/{user_id}"
    for response in (client.get(API + path), alice.get(path)):
        assert problem(response) == (404, "not_found")


def test_a_user_is_one_query(app: Flask, client: FlaskClient, alice: Person) -> None:
    with counted(app) as anonymous:
        client.get(f"{API}/users/{alice.id}")
    with counted(app) as signed_in:
        alice.get(f"/users/{alice.id}")
    assert (len(anonymous), len(signed_in)) == (1, 2)
