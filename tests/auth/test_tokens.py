"""Token validation: which tokens routes accept, and the problem for each that they refuse.

Access tokens are sent to /auth/me and refresh tokens to /auth/refresh.
"""

from __future__ import annotations

import json
import time
import warnings
from dataclasses import replace
from typing import Any

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from tests.auth.support import KEY, bearer, claims_of, encoded, get_me, refresh, reissue, sign
from tests.conftest import API, Person, problem, settings_for

CLAIMS = ["iss", "aud", "sub", "sid", "nonce", "gen", "jti", "iat", "nbf", "exp", "type", "fresh"]
KINDS = ["access", "refresh"]
REQUIRED = [(kind, claim) for kind in KINDS for claim in CLAIMS]
INVALID, EXPIRED, REVOKED = (401, "token_invalid"), (401, "token_expired"), (401, "token_revoked")
OTHER_KEY = "another-key-that-is-long-enough-0123456789"
TEN_YEARS = 315_360_000


def token_of(person: Person, kind: str) -> str:
    return person.access_token if kind == "access" else person.refresh_token


def present(client: FlaskClient, kind: str, token: str) -> TestResponse:
    return get_me(client, token) if kind == "access" else refresh(client, token)


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_signed_again_is_accepted(client: FlaskClient, alice: Person, kind: str) -> None:
    """So the tests below fail only for the one thing that each changes."""
    assert present(client, kind, reissue(token_of(alice, kind))).status_code == 200


# Claims and headers


@pytest.mark.parametrize(("kind", "claim"), REQUIRED)
def test_each_claim_is_required(client: FlaskClient, alice: Person, kind: str, claim: str) -> None:
    null: dict[str, Any] = {claim: None}
    for token in (reissue(token_of(alice, kind), without=[claim]), reissue(token_of(alice, kind), **null)):
        assert problem(present(client, kind, token)) == INVALID


# Infinite, beyond the year 9999, before 1970, not whole, or no numbers.
NOT_TIMES = [
    *(float("inf"), float("nan"), 1e300, 10**400, 10**4299, 2**63, 253_402_300_800),
    *(-1, -(10**400), -1e300, -0.5, 1.5, TEN_YEARS * 5.0, True, False, "1", "10" * 200),
]
OTHER_CLAIMS: dict[str, list[Any]] = {
    "iss": ["somebody", "", ["gatepost"], 7],
    "aud": ["somebody", "", ["gatepost"], ["gatepost", "somebody"], 7],
    "type": ["admin", "id", "", ["access", "refresh"], True],
    "jti": ["", 7, []],
    "fresh": [1, 0, "true", TEN_YEARS * 10],
    "sub": [
        *(7, 1.0, True, [], {}, "", " 1", "1 ", "+1", "-1", "01", "1.0", "abc", "٣", "１"),
        *("0", str(2**63), "9" * 19, "9" * 5000),
    ],
    "sid": ["1", 1.0, True, -1, 2**63, 10**30, [], {}],
    "nonce": ["", 7, True, [], {}, "A" * 15, "A" * 17, "A" * 5000, "A" * 15 + "ü", "A" * 15 + "\n", "A" * 15 + "\x00"],
    "gen": ["1", 1.0, True, 0, -1, 2**31 - 1, 2**63, 10**30, [], {}],
    "exp": ["soon", str(TEN_YEARS * 6), [], {}, *NOT_TIMES],
    "iat": ["soon", str(TEN_YEARS * 5), [], {}, TEN_YEARS * 20, *NOT_TIMES],
    "nbf": ["soon", str(TEN_YEARS * 5), [], {}, TEN_YEARS * 20, *NOT_TIMES],
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("claim", "value"),
    [(claim, value) for claim, values in OTHER_CLAIMS.items() for value in values],
    ids=lambda value: repr(value)[:30],
)
def test_other_claims_are_refused(client: FlaskClient, alice: Person, kind: str, claim: str, value: object) -> None:
    changes: dict[str, Any] = {claim: value}
    assert problem(present(client, kind, reissue(token_of(alice, kind), **changes))) == INVALID
    assert alice.get("/auth/me").status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_token_may_expire_at_the_end_of_the_year_9999(client: FlaskClient, alice: Person, kind: str) -> None:
    assert present(client, kind, reissue(token_of(alice, kind), exp=253_402_300_799)).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "headers",
    [
        {"typ": None},
        {"typ": "JWT"},
        {"typ": "at+JWT"},
        {"typ": "application/at+jwt"},
        {"typ": "id+jwt"},
        {"kid": None},
        {"kid": ""},
        {"kid": "unknown"},
        {"kid": "../../../etc/passwd"},
        {"kid": "' OR 1=1 --"},
        {"jku": "https://evil.example.com/keys"},
        {"jwk": {"kty": "oct", "k": encoded(OTHER_KEY.encode())}},
        {"x5u": "https://evil.example.com/cert"},
        {"x5c": ["MIIB"]},
        {"crit": ["exp"]},
        {"crit": []},
        {"b64": False, "crit": ["b64"]},
    ],
    ids=json.dumps,
)
def test_other_headers_are_refused(client: FlaskClient, alice: Person, kind: str, headers: dict[str, Any]) -> None:
    assert problem(present(client, kind, reissue(token_of(alice, kind), headers=headers))) == INVALID


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kid", [7, [], {}, True])
def test_a_key_id_must_be_a_string(client: FlaskClient, alice: Person, kind: str, kid: object) -> None:
    assert problem(present(client, kind, reissue(token_of(alice, kind), headers={"kid": kid}))) == INVALID


def test_the_other_kind_of_token_is_refused(client: FlaskClient, alice: Person) -> None:
    assert problem(get_me(client, alice.refresh_token)) == INVALID
    assert problem(refresh(client, alice.access_token)) == INVALID


def test_typ_and_type_must_agree(client: FlaskClient, alice: Person) -> None:
    by_claim = reissue(alice.refresh_token, type="access")
    by_header = reissue(alice.refresh_token, headers={"typ": "at+jwt"})
    for token in (by_claim, by_header):
        assert problem(get_me(client, token)) == INVALID
        assert problem(refresh(client, token)) == INVALID
        assert problem(client.post(f"{API}/auth/logout", headers=bearer(token))) == INVALID


# Signatures


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "nOnE", "HS384", "RS256", "ES256", "EdDSA", "", None, 7, ["HS256"]]
)
def test_another_algorithm_is_refused_signed_or_not(
    client: FlaskClient, alice: Person, kind: str, algorithm: str
) -> None:
    token = token_of(alice, kind)
    signed = reissue(token, headers={"alg": algorithm})
    unsigned = signed.rpartition(".")[0] + "."
    for forged in (signed, unsigned):
        assert problem(present(client, kind, forged)) == INVALID


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("algorithm", ["HS384", "HS512"])
def test_a_valid_signature_with_another_algorithm_is_refused(
    client: FlaskClient, alice: Person, kind: str, algorithm: str
) -> None:
    token = token_of(alice, kind)
    header = jwt.get_unverified_header(token) | {"alg": algorithm}
    with warnings.catch_warnings(action="ignore", category=jwt.InsecureKeyLengthWarning):
        forged = jwt.encode(claims_of(token), KEY, algorithm, headers=header)
    assert problem(present(client, kind, forged)) == INVALID


@pytest.mark.parametrize("kind", KINDS)
def test_another_key_is_refused(client: FlaskClient, alice: Person, kind: str) -> None:
    assert problem(present(client, kind, reissue(token_of(alice, kind), key=OTHER_KEY))) == INVALID


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [0, 1, 2])
def test_every_character_of_a_token_is_signed(client: FlaskClient, alice: Person, kind: str, part: int) -> None:
    parts = token_of(alice, kind).split(".")
    for place in {0, len(parts[part]) // 2, len(parts[part]) - 1}:
        text = parts[part]
        for other in "AQgw_":
            if other != text[place]:
                forged = [*parts]
                forged[part] = text[:place] + other + text[place + 1 :]
                assert problem(present(client, kind, ".".join(forged))) == INVALID


@pytest.mark.parametrize("claims", [{"sub": "2"}, {"sid": 2}, {"fresh": True}, {"exp": TEN_YEARS * 20}], ids=json.dumps)
def test_changed_claims_invalidate_the_signature(client: FlaskClient, alice: Person, claims: dict[str, Any]) -> None:
    header, _, signature = alice.access_token.split(".")
    forged = ".".join([header, encoded(claims_of(alice.access_token) | claims), signature])
    assert problem(get_me(client, forged)) == INVALID


@pytest.mark.parametrize(
    "token",
    [
        *("x", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "e30.e30.", "null", "undefined", "[object", "=" * 9),
        f"{encoded([])}.{encoded({})}.x",
        f"{encoded('text')}.{encoded({})}.x",
        f"{encoded(b'{')}.{encoded({})}.x",
        f"{encoded(bytes(range(256)))}.e30.x",
        f"{encoded(b'[' * 3000)}.e30.x",
        "x" * 5000,
    ],
    ids=lambda token: token[:20],
)
def test_a_string_that_is_no_token_is_refused(client: FlaskClient, token: str) -> None:
    if "[" not in token and not token.startswith("="):
        assert problem(get_me(client, token)) == INVALID
        assert problem(refresh(client, token)) == INVALID
    # In the body, where the grammar of the Authorization header does not apply.
    response = client.post(f"{API}/auth/refresh", json={"refresh_token": token[:4096]})
    assert problem(response) == INVALID


@pytest.mark.parametrize("payload", [b"[" * 3000, b"[]", b'"text"', b"{", b"\xff", b'{"exp": NaN}', b"null", b""])
@pytest.mark.parametrize("kind", KINDS)
def test_a_signed_payload_without_claims_is_refused(
    client: FlaskClient, alice: Person, kind: str, payload: bytes
) -> None:
    token = sign(jwt.get_unverified_header(token_of(alice, kind)), payload)
    assert problem(present(client, kind, token)) == INVALID


# Time


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("claim", "seconds", "expected"),
    [
        ("exp", -20, None),
        ("exp", -40, EXPIRED),
        ("exp", -TEN_YEARS, EXPIRED),
        ("nbf", 20, None),
        ("nbf", 40, INVALID),
        ("iat", 20, None),
        ("iat", 40, INVALID),
    ],
)
def test_clocks_may_differ_by_30_seconds(
    client: FlaskClient, alice: Person, kind: str, claim: str, seconds: int, expected: tuple[int, str] | None
) -> None:
    changes: dict[str, Any] = {claim: int(time.time()) + seconds}
    token = reissue(token_of(alice, kind), **changes)
    response = present(client, kind, token)
    if expected is None:
        assert response.status_code == 200
    else:
        assert problem(response) == expected


def test_an_expired_token_with_an_invalid_signature_is_token_invalid(client: FlaskClient, alice: Person) -> None:
    for changes in ({"key": OTHER_KEY}, {"headers": {"kid": "unknown"}}, {"without": ["sid"]}):
        assert problem(get_me(client, reissue(alice.access_token, exp=1, **changes))) == INVALID


# Session and user


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "changes",
    [
        *({"sub": "999999"}, {"sub": str(2**63 - 1)}, {"sid": 0}, {"sid": 999999}, {"sid": 2**63 - 1}),
        *({"nonce": "A" * 16}, {"nonce": "A" * 16, "gen": 2}),
    ],
)
def test_a_token_of_an_unknown_session_is_token_revoked(
    client: FlaskClient, alice: Person, kind: str, changes: dict[str, Any]
) -> None:
    assert problem(present(client, kind, reissue(token_of(alice, kind), **changes))) == REVOKED


@pytest.mark.parametrize("kind", KINDS)
def test_the_session_of_a_token_must_belong_to_its_user(
    client: FlaskClient, alice: Person, bob: Person, kind: str
) -> None:
    theirs: dict[str, Any] = {"sid": alice.session_id, "nonce": alice.grant.nonce}
    assert problem(present(client, kind, reissue(token_of(bob, kind), **theirs))) == REVOKED
    assert problem(present(client, kind, reissue(token_of(bob, kind), sub=str(alice.id)))) == REVOKED
    for person in (alice, bob):
        assert present(client, kind, token_of(person, kind)).status_code == 200


# Error responses


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"sub": "0"}, "token_invalid", "not valid for this service"),
        ({"exp": 1}, "token_expired", "has expired"),
        ({"sid": 999999}, "token_revoked", "has ended"),
    ],
)
def test_a_refused_token_is_challenged_with_invalid_token(
    client: FlaskClient, alice: Person, changes: dict[str, Any], code: str, words: str
) -> None:
    response = get_me(client, reissue(alice.access_token, **changes))
    assert problem(response) == (401, code)
    challenge = response.headers["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="gatepost", error="invalid_token", error_description="')
    assert words in challenge
    assert words in response.get_json()["detail"]
    assert response.headers["Cache-Control"] == "no-store"


def test_the_token_is_validated_before_the_resource_is_looked_up(client: FlaskClient, alice: Person) -> None:
    expired = bearer(reissue(alice.access_token, exp=1))
    for method, path in (("DELETE", "/auth/sessions/999"), ("DELETE", "/posts/999"), ("GET", "/users/999/export")):
        assert problem(client.open(API + path, method=method, headers=expired)) == EXPIRED


# Keys


@pytest.fixture
def rotated(app: Flask, database_url: str) -> FlaskClient:
    """A client of an application with a new key, for which the tests' key is the previous one."""
    settings = settings_for(database_url, jwt_secret_key=OTHER_KEY, jwt_previous_secret_keys=(KEY,))
    return create_app(settings).test_client()


@pytest.mark.parametrize("kind", KINDS)
def test_a_previous_key_still_verifies(rotated: FlaskClient, alice: Person, kind: str) -> None:
    assert present(rotated, kind, token_of(alice, kind)).status_code == 200


def test_only_the_new_key_signs(rotated: FlaskClient, client: FlaskClient, alice: Person) -> None:
    token = refresh(rotated, alice.refresh_token).get_json()["access_token"]
    assert jwt.get_unverified_header(token)["kid"] != jwt.get_unverified_header(alice.access_token)["kid"]
    assert jwt.decode(token, OTHER_KEY, algorithms=["HS256"], audience="gatepost")
    assert get_me(rotated, token).status_code == 200
    assert problem(get_me(client, token)) == INVALID


def test_a_key_does_not_verify_with_the_kid_of_another(rotated: FlaskClient, alice: Person) -> None:
    new_kid = jwt.get_unverified_header(refresh(rotated, alice.refresh_token).get_json()["access_token"])["kid"]
    assert problem(get_me(rotated, reissue(alice.access_token, headers={"kid": new_kid}))) == INVALID
    assert problem(get_me(rotated, reissue(alice.access_token, key=OTHER_KEY))) == INVALID


@pytest.mark.parametrize("changes", [{"jwt_issuer": "elsewhere"}, {"jwt_audience": "elsewhere"}])
def test_tokens_of_another_service_with_the_same_key_are_refused(
    app: Flask, database_url: str, alice: Person, changes: dict[str, str]
) -> None:
    elsewhere = create_app(replace(settings_for(database_url), **changes)).test_client()  # type: ignore[arg-type]
    assert problem(get_me(elsewhere, alice.access_token)) == INVALID


def test_a_cached_token_is_not_valid_before_its_time(
    client: FlaskClient, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that has verified a token answers as one that has not, when the clock was set back."""
    assert get_me(client, alice.access_token).status_code == 200
    now = time.time()
    monkeypatch.setattr("app.auth.tokens.seconds_now", lambda: now - 40)
    assert problem(get_me(client, alice.access_token)) == INVALID
    monkeypatch.setattr("app.auth.tokens.seconds_now", lambda: now - 20)
    assert get_me(client, alice.access_token).status_code == 200
