"""POST /users."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.database import in_transaction
from app.users.models import User
from gatepost.testing.rows import count_rows
from tests.conftest import API, PASSWORD, Person, problem

DAVE = {"email": "dave@example.com", "name": "Dave", "password": PASSWORD}


@pytest.mark.parametrize("role", [None, "user", "admin"])
def test_an_admin_makes_an_account(carol: Person, client: FlaskClient, role: str | None) -> None:
    response = carol.post("/users", json=DAVE | ({"role": role} if role else {}))
    user = response.get_json()
    assert response.status_code == 201
    assert user == {
        "id": user["id"],
        "name": "Dave",
        "bio": "",
        "created_at": user["created_at"],
        "email": "dave@example.com",
        "email_verified": False,
        "role": role or "user",
        "is_active": True,
        "updated_at": user["created_at"],
    }
    assert response.headers["Location"] == f"{API}/users/{user['id']}"
    assert response.headers["Cache-Control"] == "no-store"
    read = carol.get(f"/users/{user['id']}")
    assert (read.data, read.headers["ETag"]) == (response.data, response.headers["ETag"])


def test_the_account_can_sign_in(carol: Person, client: FlaskClient) -> None:
    user = carol.post("/users", json=DAVE).get_json()
    login = client.post(API + "/auth/login", json={"email": "dave@example.com", "password": PASSWORD})
    assert login.status_code == 200
    assert login.get_json()["user"] == user


def test_only_an_admin_may(alice: Person, client: FlaskClient, app: Flask) -> None:
    for body in (DAVE, DAVE | {"role": "admin"}, {}):
        assert problem(alice.post("/users", json=body)) == (403, "forbidden")
        assert problem(client.post(API + "/users", json=body)) == (401, "authentication_required")
    assert count_rows(app, User) == 1


@pytest.mark.parametrize(
    "email",
    ["alice@example.com", "ALICE@EXAMPLE.COM", "Alice@Example.Com", " alice@example.com\n"],
)
def test_an_address_has_one_account(alice: Person, carol: Person, app: Flask, email: str) -> None:
    assert problem(carol.post("/users", json=DAVE | {"email": email})) == (409, "email_taken")
    assert count_rows(app, User) == 2
    assert carol.get("/users").status_code == 200


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"email": "dave"}, "email"),
        ({"email": "dave@mail.test"}, "email"),
        ({"password": "e\u0301" * 4}, "password"),
        ({"name": "D"}, "name"),
        ({"name": "D" * 81}, "name"),
        ({"password": "short"}, "password"),
        ({"password": "x" * 129}, "password"),
        ({"password": "password1"}, "password"),
        ({"password": "dave@example.com"}, "password"),
        ({"role": "owner"}, "role"),
        ({"is_active": True}, "is_active"),
        ({"email_verified": True}, "email_verified"),
        ({"bio": "x"}, "bio"),
        ({"id": 5}, "id"),
        ({"password_hash": "x"}, "password_hash"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_an_invalid_account_is_refused(carol: Person, app: Flask, changes: dict[str, Any], name: str) -> None:
    response = carol.post("/users", json=DAVE | changes)
    assert problem(response) == (422, "validation_error")
    assert list(response.get_json()["errors"]) == [name]
    assert count_rows(app, User) == 1


@pytest.mark.parametrize("name", ["Jo", "N" * 80, "李明", "😀😀", "O'Neil <b>", "\u0390" * 80, "\ufb03" * 80, "ẞ" * 80])
def test_names_are_kept_as_sent(carol: Person, name: str) -> None:
    response = carol.post("/users", json=DAVE | {"name": name})
    assert response.status_code == 201
    assert carol.get(f"/users/{response.get_json()['id']}").get_json()["name"] == name


@pytest.mark.parametrize(
    "name", ["\u200b\u200b", "\u3164\u3164", "\u2800\u2800", "Ev\u202ee", "\u2067Eve\u2069"], ids=ascii
)
def test_names_that_are_invisible_or_change_the_direction_of_text_are_refused(carol: Person, name: str) -> None:
    created = carol.post("/users", json=DAVE | {"name": name})
    changed = carol.patch(f"/users/{carol.id}", json={"name": name})
    for response in (created, changed):
        assert problem(response) == (422, "validation_error")
        assert list(response.get_json()["errors"]) == ["name"]


def test_no_name_outgrows_its_folded_form() -> None:
    """`name_key` has 240 code points, three for each of a name: no character folds to more."""
    import sys

    from app.users.schemas import fold

    longest = max(len(fold(chr(code))) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000)
    assert longest <= 3


@pytest.mark.parametrize("change", [{"role": "user"}, {"is_active": False}])
def test_a_demoted_administrator_creates_no_account(
    carol: Person, join: Any, app: Flask, monkeypatch: pytest.MonkeyPatch, change: dict[str, object]
) -> None:
    """The access policy admitted the caller, who is demoted while the password is being hashed."""
    other = join("Dave", role="admin")

    def slow_hash(password: str) -> str:
        assert other.patch(f"/users/{carol.id}", json=change).status_code == 200
        return "a hash"

    monkeypatch.setattr("app.users.views.hash_password", slow_hash)
    body = {"email": "new@example.com", "name": "New", "password": PASSWORD, "role": "admin"}
    assert problem(carol.post("/users", json=body)) == (403, "forbidden")
    assert count_rows(app, User) == 2


def test_no_transaction_is_open_while_a_password_is_hashed(
    carol: Person, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def watching_hash(password: str) -> str:
        seen.append(in_transaction())
        return "a hash"

    monkeypatch.setattr("app.users.views.hash_password", watching_hash)
    body = {"email": "new@example.com", "name": "New", "password": PASSWORD}
    assert carol.post("/users", json=body, headers={"Idempotency-Key": "k"}).status_code == 201
    assert seen == [False]
