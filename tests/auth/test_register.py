"""POST /auth/register."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select
from werkzeug.test import TestResponse

from app.components import components_of
from app.database import fetch_one, transaction
from app.security.passwords import verify_password
from app.users.models import User
from app.users.schemas import NO_MAIL
from app.users.service import create_user
from tests.auth.support import NOT_STRINGS, bearer, claims_of, get_me, log_in
from tests.conftest import API, PASSWORD, Person, problem, quick_password_hash

NOVEL = {"email": "dora@example.com", "name": "Dora", "password": PASSWORD}


def register(client: FlaskClient, **changes: Any) -> TestResponse:
    return client.post(f"{API}/auth/register", json=NOVEL | changes)


def errors_of(response: TestResponse) -> dict[str, Any]:
    assert problem(response) == (422, "validation_error")
    errors: dict[str, Any] = response.get_json()["errors"]
    return errors


def test_a_registration_answers_with_the_user_and_a_pair_of_tokens(client: FlaskClient) -> None:
    response = register(client)
    assert response.status_code == 201
    answer = response.get_json()
    user = answer.pop("user")
    access, refresh = answer.pop("access_token"), answer.pop("refresh_token")
    assert answer == {"token_type": "Bearer", "expires_in": 900, "refresh_expires_in": 604_800}
    assert get_me(client, access).get_json() == user
    assert claims_of(access)["sid"] == claims_of(refresh)["sid"]
    assert {k: user[k] for k in user.keys() - {"id", "created_at", "updated_at"}} == {
        "name": "Dora",
        "email": "dora@example.com",
        "bio": "",
        "role": "user",
        "is_active": True,
        "email_verified": False,
    }


def test_location_is_the_url_of_the_new_user(client: FlaskClient) -> None:
    response = register(client)
    answer = response.get_json()
    assert response.headers["Location"] == f"{API}/users/{answer['user']['id']}"
    there = client.get(response.headers["Location"], headers=bearer(answer["access_token"]))
    assert there.get_json() == answer["user"]
    # The ETag of a 201 describes the resource at Location, and this body is another representation.
    assert "ETag" not in response.headers


def test_the_response_is_not_cacheable_and_has_the_request_id(client: FlaskClient) -> None:
    response = client.post(f"{API}/auth/register", json=NOVEL, headers={"X-Request-ID": "try-1.a_b"})
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Request-ID"] == "try-1.a_b"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.usefixtures("full_hashes")
def test_the_database_stores_an_argon2id_hash_and_no_password(client: FlaskClient, app: Flask) -> None:
    register(client)
    with app.app_context():
        row = fetch_one(select(User.password_hash))
    assert row is not None
    assert row.password_hash.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert verify_password(PASSWORD, row.password_hash)


def test_the_new_user_can_log_in(client: FlaskClient) -> None:
    register(client)
    assert log_in(client, "dora@example.com").status_code == 200


def test_credentials_are_ignored(client: FlaskClient) -> None:
    response = client.post(f"{API}/auth/register", json=NOVEL, headers={"Authorization": ",, ,"})
    assert response.status_code == 201


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("dora@example.com", "dora@example.com", id="the same"),
        pytest.param("dora@example.com", "DORA@Example.COM", id="case"),
        pytest.param("dora@example.com", "dora@ｅｘａｍｐｌｅ.com", id="full-width domain"),
        pytest.param("jos\u00e9@example.com", "jose\u0301@example.com", id="NFC and NFD"),
        pytest.param("\u00c9va@example.com", "e\u0301va@example.com", id="NFC and NFD and case"),
        pytest.param("d@münchen.example.com", "d@xn--mnchen-3ya.example.com", id="IDNA"),
        pytest.param("d@MÜNCHEN.example.com", "d@münchen.example.com", id="IDNA and case"),
        pytest.param("ΣΑΣ@example.com", "σας@example.com", id="final sigma"),
        pytest.param("kim@example.com", "\u212aim@example.com", id="Kelvin sign"),
        pytest.param("dora@example.com", "dora@example。com", id="ideographic full stop"),
        pytest.param("dora@example.com", "\t\u00a0dora@example.com\u3000\r\n", id="white space"),
        pytest.param("d@straße.de", " D@xn--strae-oqa.de ", id="A-label, case and spaces"),
    ],
)
def test_a_taken_address_is_recognized_in_every_spelling(client: FlaskClient, first: str, second: str) -> None:
    assert register(client, email=first).status_code == 201
    assert problem(register(client, email=second)) == (409, "email_taken")
    assert log_in(client, second).status_code == 200


SIMILAR = {
    "Cyrillic a": "p\u0430ul@example.com",
    "Cyrillic domain": "paul@ex\u0430mple.com",
    "punycode": "paul@xn--exmple-4nf.com",
    "full-width letter": "ｐaul@example.com",
    "digit for a letter": "pau1@example.com",
    "a tag": "paul+news@example.com",
    "a dot": "pa.ul@example.com",
    "a percent sign": "paul%40evil.example@example.com",
    "another domain": "paul@example.org",
    "sharp s in the domain": "paul@exampleß.com",
    "ligature": "ﬀaul@example.com",
}


@pytest.mark.parametrize("other", SIMILAR.values(), ids=SIMILAR)
def test_similar_looking_addresses_are_different_accounts(client: FlaskClient, other: str) -> None:
    assert register(client, email="paul@example.com").status_code == 201
    assert problem(log_in(client, other)) == (401, "invalid_credentials")
    assert register(client, email=other).status_code == 201


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param("max@straße.de", "max@strasse.de", id="sharp s in the domain"),
        pytest.param("max@νικος.example", "max@νικοσ.example", id="final sigma in the domain"),
        pytest.param("strauss@example.com", "strauß@example.com", id="sharp s"),
        pytest.param("fin@example.com", "ﬁn@example.com", id="ligature"),
        pytest.param("sam@example.com", "ſam@example.com", id="long s"),
        pytest.param("νικος@example.com", "νικοσ@example.com", id="lower-case sigma at the end"),
    ],
)
def test_addresses_with_the_same_case_folded_form_are_different_accounts(
    client: FlaskClient, first: str, second: str
) -> None:
    """IDNA 2008: "straße.de" is not "strasse.de" (RFC 5894 section 7.2)."""
    ids = []
    for email in (first, second):
        assert problem(log_in(client, email)) == (401, "invalid_credentials")
        ids.append(register(client, email=email).get_json()["user"]["id"])
    assert [log_in(client, email).get_json()["user"]["id"] for email in (first, second)] == ids
    assert ids[0] != ids[1]


@pytest.mark.parametrize("email", ["dora@example.com", "dora@dora.local", "dora@mail.test", "dora@a.b.LOCALHOST"])
@pytest.mark.parametrize("is_allowed", [True, False])
def test_special_domains_are_only_allowed_by_a_setting(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch, email: str, is_allowed: bool
) -> None:
    settings = replace(components_of(app).settings, email_allow_special_domains=is_allowed)
    monkeypatch.setattr(components_of(app), "settings", settings)
    response = register(client, email=email)
    if is_allowed or email == "dora@example.com":
        assert response.status_code == 201
    else:
        [text] = errors_of(response)["email"]
        assert "No mail is delivered to this domain" in text
        assert "EMAIL_ALLOW_SPECIAL_DOMAINS=true" in text


def test_in_production_users_are_not_told_of_the_setting(
    client: FlaskClient, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(components_of(app), "settings", replace(components_of(app).settings, app_env="production"))
    assert errors_of(register(client, email="dora@mail.test")) == {"email": [NO_MAIL]}


def test_an_account_with_a_special_domain_can_log_in_when_no_new_one_may_have_it(
    client: FlaskClient, app: Flask
) -> None:
    with app.app_context(), transaction():
        create_user("eve@mail.test", "Eve", quick_password_hash())
    assert log_in(client, "eve@mail.test").status_code == 200


def test_the_address_is_stored_as_sent_except_for_its_domain(client: FlaskClient) -> None:
    answer = register(client, email="Dora.Jose\u0301@xn--mnchen-3ya.EXAMPLE.com").get_json()
    assert answer["user"]["email"] == "Dora.Jos\u00e9@münchen.example.com"


def long_email(local: int, whole: int) -> str:
    """Return an address with `whole` characters, `local` of them before the @, and no label over 63."""
    rest = whole - local - len("@.com")
    labels = "".join("d" if n % 60 else "." for n in range(1, rest))
    return "l" * local + "@" + labels + "d.com"


@pytest.mark.parametrize(("local", "whole"), [(64, 254), (1, 254), (64, 100)])
def test_the_longest_addresses_are_accepted(client: FlaskClient, local: int, whole: int) -> None:
    email = long_email(local, whole)
    assert len(email) == whole
    assert register(client, email=email).status_code == 201
    assert log_in(client, email.upper()).status_code == 200


@pytest.mark.parametrize(
    "email",
    [
        *("", "dora", "@", "@example.com", "dora@", "dora@example", "dora@localhost", "dora@@example.com"),
        *("d@a@example.com", "dora@example..com", "dora@-example.com", "dora@example.com.", ".dora@example.com"),
        *("do..ra@example.com", "dora@[192.0.2.1]", "dora@192.0.2.1", '"dora"@example.com', '"do ra"@example.com'),
        *("dora(x)@example.com", "Dora <dora@example.com>", "<dora@example.com>", "dora@example.com, bob@example.com"),
        *("dora@example.com,bob@example.com", "dora@example.com;bob@example.com", "' OR 1=1 --@example.com"),
        *("dora @example.com", "dora@ example.com", "dora\n@example.com", "dora\r\nBcc: x@evil.example", " "),
        *("dora\x00@example.com", "dora@example.com\x00", "dora@example.com%00", "\x1b[31mdora@example.com"),
        *("dora\ud800@example.com", "dora\u202e@example.com", "do\u200bra@example.com", "do\xadra@example.com"),
        *("dora@exam\xadple.com", "dora@xn--", "dora@xn--a", "dora@xn--a.example.com", "dora@😀.com"),
        *(f"dora@{'b' * 64}.com", f"dora@{'.'.join(['b' * 60] * 5)}.com", "dora@example.com" * 1000),
        *(long_email(65, 100), long_email(64, 255), "d" * 100_000 + "@example.com"),
    ],
    ids=lambda email: ascii(email)[:40],
)
def test_an_invalid_address_is_refused(client: FlaskClient, email: str) -> None:
    assert errors_of(register(client, email=email)).keys() == {"email"}


@pytest.mark.parametrize("name", ["Al", "N" * 80, "李小龍", "O'Néill-Smith 3rd", "<b>Dora</b>", "👩‍👩‍👧"])
def test_a_name_may_have_2_to_80_characters(client: FlaskClient, name: str) -> None:
    assert register(client, name=name).get_json()["user"]["name"] == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "A",
        "N" * 81,
        "   ",
        "\u2003\u2003",
        "\u200b\u200b",
        "\u3164\u115f",
        "\u2800 ",
        "\U000e0001\ufe0f",
        "Do\u202era",
        "Do\u2066ra",
        "Do\x00ra",
        "Do\nra",
        "Do\x7fra",
        "Do\x9bra",
        "\udc00Dora",
    ],
)
def test_other_names_are_refused(client: FlaskClient, name: str) -> None:
    assert errors_of(register(client, name=name)).keys() == {"name"}


@pytest.mark.parametrize(
    "password", ["é" * 100, "e\u0301" * 128, "8 digits", "x" * 128, "ünïcödé ☃", "p\u0061\u0308sswords", "  x      "]
)
def test_a_password_may_have_8_to_128_characters(client: FlaskClient, password: str) -> None:
    assert register(client, password=password).status_code == 201
    assert log_in(client, "dora@example.com", password).status_code == 200
    assert log_in(client, "dora@example.com", unicodedata.normalize("NFD", password)).status_code == 200


@pytest.mark.parametrize(
    "password",
    [
        *("e\u0301" * 4, "e\u0301" * 7, "e\u0301" * 129, "x" * 513, "\u3164" * 8, "\u00a0" * 8),
        *("", "seven77", "x" * 129, " " * 8, "NUL \x00 inside", "line\nfeed", "\ud800 surrogate"),
        *("password", "password1", "PassWord1", "12345678", "qwertyuiop", "gatepost", "gatepost1", "GatePost-2026!"),
        *("dora", "Dora1234", "DORA--2026"),
        *("dora@example.com", "Dora@Example.com"),
    ],
)
def test_weak_passwords_are_refused(client: FlaskClient, password: str) -> None:
    assert errors_of(register(client, password=password)).keys() == {"password"}


@pytest.mark.parametrize("field", ["email", "name", "password"])
def test_each_field_is_required_and_a_string(client: FlaskClient, field: str) -> None:
    body = {k: v for k, v in NOVEL.items() if k != field}
    assert errors_of(client.post(f"{API}/auth/register", json=body)).keys() == {field}
    for value in NOT_STRINGS:
        assert errors_of(register(client, **{field: value})).keys() == {field}


def test_all_invalid_fields_are_reported_at_once(client: FlaskClient) -> None:
    body = {"email": 1, "password": "short", "role": "admin"}
    errors = errors_of(client.post(f"{API}/auth/register", json=body))
    assert errors.keys() == {"email", "name", "password", "role"}


@pytest.mark.parametrize("field", ["role", "id", "is_active", "email_verified", "Email", "", "💥"])
def test_unknown_fields_are_refused(client: FlaskClient, field: str) -> None:
    assert errors_of(register(client, **{field: "admin"})) == {field: ["Unknown field."]}
    assert log_in(client, "dora@example.com").status_code == 401


def test_an_error_does_not_repeat_the_password(client: FlaskClient) -> None:
    response = register(client, email="no address", password="a-secret-of-mine")
    assert problem(response) == (422, "validation_error")
    assert "a-secret-of-mine" not in response.text


def test_a_taken_address_does_not_change_its_account(client: FlaskClient, alice: Person) -> None:
    response = register(client, email=alice.email.upper(), password="another password")
    assert problem(response) == (409, "email_taken")
    assert log_in(client, alice.email).status_code == 200
    assert alice.get("/auth/me").get_json()["name"] == "Alice"
