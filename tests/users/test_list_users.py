"""GET /users."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from app.database import transaction
from app.users.service import create_user
from gatepost.testing.statements import counted
from tests.conftest import Cast, Person, problem

PUBLIC = ["id", "name", "bio", "created_at"]
PRIVATE = [*PUBLIC, "email", "email_verified", "role", "is_active", "updated_at"]


def names(response: TestResponse) -> list[str]:
    """Return the names of a list, in order."""
    assert response.status_code == 200, response.text
    return [item["name"] for item in response.get_json()["items"]]


def test_users_see_what_is_public(alice: Person, bob: Person) -> None:
    response = alice.get("/users")
    assert [sorted(item) for item in response.get_json()["items"]] == [sorted(PUBLIC)] * 2
    assert names(response) == ["Alice", "Bob"]
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["ETag"].startswith('W/"')


def test_admins_see_everything_but_secrets(alice: Person, carol: Person) -> None:
    response = carol.get("/users")
    assert [sorted(item) for item in response.get_json()["items"]] == [sorted(PRIVATE)] * 2
    assert "argon2" not in response.text


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        ("", ["bob", "Alice", "alba", "Ärger"]),
        ("?sort=created_at", ["bob", "Alice", "alba", "Ärger"]),
        ("?sort=-created_at", ["Ärger", "alba", "Alice", "bob"]),
    ],
)
def test_users_are_listed_by_age(join: Cast, sort: str, expected: list[str]) -> None:
    people = [join(name) for name in ("bob", "Alice", "alba", "Ärger")]
    assert names(people[0].get("/users" + sort)) == expected


def test_sorting_by_name_minds_no_case(join: Cast) -> None:
    people = [join(name) for name in ("bob", "Alice", "alba", "Carla")]
    assert names(people[0].get("/users?sort=name")) == ["alba", "Alice", "bob", "Carla"]
    assert names(people[0].get("/users?sort=-name")) == ["Carla", "bob", "Alice", "alba"]


@pytest.mark.parametrize("sort", ["id", "email", "role", "password_hash", "name_key", "updated_at", ""])
def test_other_keys_can_not_be_sorted_by(alice: Person, sort: str) -> None:
    response = alice.get(f"/users?sort={sort}")
    assert problem(response) == (422, "validation_error")
    assert list(response.get_json()["errors"]) == ["sort"]


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("li", ["Alice"]),
        ("LI", ["Alice"]),
        ("alice", ["Alice"]),
        ("b", ["Bob"]),
        *((q, []) for q in ("zzz", "%", "_", "a%e", "/", "\\", "'", "' OR '1'='1", "example.com")),
    ],
)
def test_a_search_looks_in_names(alice: Person, bob: Person, q: str, expected: list[str]) -> None:
    assert names(alice.get(f"/users?q={quote(q)}")) == expected


def test_wildcards_in_names_are_found_as_they_are(join: Cast) -> None:
    people = [join(name) for name in ("100%er", "1000er", "a_b", "axb", "c/d")]
    for q, expected in (("0%e", ["100%er"]), ("a_b", ["a_b"]), ("/", ["c/d"])):
        assert names(people[0].get(f"/users?q={quote(q, safe='')}")) == expected


@pytest.mark.parametrize(
    ("name", "q"),
    [
        ("Ärger", "äRG"),
        ("A\u0308rger", "\u00e4rg"),
        ("\u00c4rger", "a\u0308rg"),
        ("Straße", "STRASSE"),
        ("ΣΊΣΥΦΟΣ", "σίσυφοσ"),
    ],
)
def test_a_search_minds_neither_case_nor_composition(app: Flask, alice: Person, name: str, q: str) -> None:
    with app.app_context(), transaction():
        create_user("x@example.com", name, "no hash")
    assert names(alice.get(f"/users?q={quote(q)}")) == [name]


def test_an_admin_s_search_looks_in_addresses_too(alice: Person, bob: Person, carol: Person) -> None:
    assert names(carol.get("/users?q=BOB%40Example")) == ["Bob"]
    assert names(alice.get("/users?q=bob%40example")) == []
    assert len(names(carol.get("/users?q=example.com"))) == 3


@pytest.mark.parametrize("q", ["straß", "MAX@STRASSE", "ÉVA@straße", "e\u0301va@"])
def test_a_search_in_addresses_compares_them_as_a_login_does(app: Flask, carol: Person, q: str) -> None:
    with app.app_context(), transaction():
        create_user("Éva@straße.de", "One", "no hash")
        create_user("max@strasse.de", "Two", "no hash")
    assert names(carol.get(f"/users?q={quote(q)}")) == ["Two" if q == "MAX@STRASSE" else "One"]


@pytest.mark.parametrize("q", ["", "%20", "%00", "a%0Ab", "x" * 81])
def test_an_invalid_search_text_is_refused(alice: Person, q: str) -> None:
    response = alice.get(f"/users?q={q}")
    assert problem(response) == (422, "validation_error")
    assert list(response.get_json()["errors"]) == ["q"]


def test_a_long_search_is_one(alice: Person) -> None:
    assert names(alice.get("/users?q=" + quote("\u0390" * 80))) == []


def test_an_unchanged_list_is_not_sent_again(alice: Person, carol: Person) -> None:
    tag = alice.get("/users").headers["ETag"]
    assert alice.get("/users", headers={"If-None-Match": tag}).status_code == 304
    assert carol.get("/users", headers={"If-None-Match": tag}).status_code == 200


def test_a_page_of_users_is_two_queries(app: Flask, join: Cast) -> None:
    people = [join(f"Person{number}") for number in range(20)]
    with counted(app) as statements:
        assert len(names(people[0].get("/users"))) == 20
    assert len(statements) == 2


def test_pages_of_a_search_are_counted(alice: Person, bob: Person) -> None:
    response = alice.get("/users?q=ali&page=1")
    assert response.get_json()["pagination"] == {"limit": 20, "page": 1, "pages": 1, "total": 1}
