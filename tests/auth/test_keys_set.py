"""/.well-known/jwks.json: its content and caching, and that other services can verify access tokens with it."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from joserfc import jwt as joserfc_jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from app.auth.tokens import make_access_token
from app.security.key_files import read_key_file
from app.security.signing_keys import KEY_SET_SECONDS
from gatepost.testing.applications import replica
from tests.auth.keyrings import ALGORITHMS, forge, jwks, new_key, write_key
from tests.auth.support import KEY
from tests.conftest import API, Person

PATH = "/.well-known/jwks.json"
ORIGIN = {"Origin": "https://elsewhere.example.net"}
# joserfc warns about this name since RFC 9864 introduced "Ed25519", which other libraries do not know yet.
pytestmark = pytest.mark.filterwarnings("ignore:EdDSA is deprecated via RFC 9864")
MEMBERS = {"ES256": {"kty", "crv", "x", "y"}, "EdDSA": {"kty", "crv", "x"}}


class Neighbour:
    """A service that uses another library and knows only the key set, the issuer and the audience."""

    def __init__(self, document: str) -> None:
        self.keys = KeySet.import_key_set(json.loads(document))
        self.rules = joserfc_jwt.JWTClaimsRegistry(
            iss={"essential": True, "value": "gatepost"},
            aud={"essential": True, "value": "gatepost"},
            sub={"essential": True},
            exp={"essential": True},
        )

    def subject(self, token: str) -> str:
        """Return the subject of an access token. Raises JoseError for an invalid one."""
        decoded = joserfc_jwt.decode(token, self.keys, algorithms=["ES256", "EdDSA"])
        assert decoded.header["typ"] == "at+jwt"
        self.rules.validate(decoded.claims)
        return str(decoded.claims["sub"])


def access_token(app: Flask, person: Person) -> str:
    with app.app_context():
        return make_access_token(person.grant, fresh=True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_service_verifies_our_tokens_with_the_key_set_alone(
    app: Flask, database_url: str, alice: Person, bob: Person, tmp_path: Path, algorithm: str
) -> None:
    path = write_key(tmp_path / "token.pem", algorithm).path
    with replica(database_url, jwt_private_key_file=path) as app:
        neighbour = Neighbour(app.test_client().get(PATH).text)
        tokens = {person.id: access_token(app, person) for person in (alice, bob)}
    for user_id, token in tokens.items():
        assert neighbour.subject(token) == str(user_id)
    header, _, signature = tokens[alice.id].split(".")
    for forged in (
        f"{header}.{tokens[bob.id].split('.')[1]}.{signature}",
        forge(tokens[alice.id], new_key(algorithm), algorithm),
        forge(tokens[alice.id], KEY.encode(), "HS256"),
        alice.access_token,
    ):
        with pytest.raises((JoseError, ValueError)):
            neighbour.subject(forged)


def test_another_service_can_verify_during_a_rotation(
    app: Flask, database_url: str, alice: Person, tmp_path: Path
) -> None:
    old, new = (write_key(tmp_path / f"{name}.pem", kind) for name, kind in (("old", "ES256"), ("new", "EdDSA")))
    with replica(database_url, jwt_private_key_file=old.path, jwt_verification_key_files=(new.path,)) as first:
        before = Neighbour(first.test_client().get(PATH).text)
        tokens = [access_token(first, alice)]
    with replica(database_url, jwt_private_key_file=new.path, jwt_verification_key_files=(old.path,)) as second:
        after = Neighbour(second.test_client().get(PATH).text)
        tokens.append(access_token(second, alice))
    for neighbour in (before, after):
        assert [neighbour.subject(token) for token in tokens] == [str(alice.id)] * 2


# Content


def test_the_set_is_empty_if_a_secret_signs(app: Flask, client: FlaskClient) -> None:
    response = client.get(PATH)
    assert (response.status_code, response.mimetype) == (200, "application/json")
    assert response.get_json() == {"keys": []}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_set_contains_only_public_members(app: Flask, database_url: str, tmp_path: Path, algorithm: str) -> None:
    signing = write_key(tmp_path / "token.pem", algorithm)
    other = write_key(tmp_path / "token.pem.next", "ES256")
    third = write_key(tmp_path / "third.pem", "EdDSA")
    changes: dict[str, Any] = {
        "jwt_private_key_file": signing.path,
        "jwt_verification_key_files": (third.path, f"{third.path}.pub", signing.path),
        "jwt_previous_secret_keys": (KEY,),
    }
    with replica(database_url, **changes) as app:
        keys = jwks(app)
    assert [key["kid"] for key in keys] == [signing.kid, other.kid, third.kid]
    for key, file in zip(keys, (signing, other, third), strict=True):
        assert key.keys() == {"kid", "alg", "use"} | MEMBERS[file.algorithm]
        assert (key["alg"], key["use"]) == (file.algorithm, "sig")
        assert all(re.fullmatch(r"[\w-]{43}", key[name]) for name in {"x", "y", "kid"} & key.keys())


def test_the_kid_is_the_thumbprint_of_rfc_7638(tmp_path: Path) -> None:
    """The example of RFC 8037 appendix A.3."""
    example = tmp_path / "example.pem"
    example.write_text(
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
        "-----END PUBLIC KEY-----\n"
    )
    assert read_key_file(str(example)).kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_another_library_computes_the_same_kid(tmp_path: Path, algorithm: str) -> None:
    key = write_key(tmp_path / "token.pem", algorithm)
    (theirs,) = KeySet.import_key_set({"keys": [dict(key.jwk)]}).keys
    assert theirs.thumbprint() == key.kid


# Caching and CORS


def test_the_set_is_cached_for_minutes_and_revalidated(app: Flask, database_url: str, tmp_path: Path) -> None:
    path = write_key(tmp_path / "token.pem").path
    with replica(database_url, jwt_private_key_file=path) as app:
        client = app.test_client()
        first = client.get(PATH)
        assert first.headers["Cache-Control"] == f"public, max-age={KEY_SET_SECONDS}"
        again = client.get(PATH, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
        assert client.get(PATH, headers={"If-None-Match": '"other"'}).data == first.data
        head = client.head(PATH)
        assert (head.status_code, head.data, head.headers["ETag"]) == (200, b"", first.headers["ETag"])
    write_key(Path(f"{path}.next"))
    with replica(database_url, jwt_private_key_file=path) as app:
        assert app.test_client().get(PATH).headers["ETag"] != first.headers["ETag"]


@pytest.mark.parametrize("headers", [{}, ORIGIN, {"Origin": "https://app.example.com"}, {"Origin": "null"}])
def test_pages_of_every_origin_may_read_it_without_credentials(client: FlaskClient, headers: dict[str, str]) -> None:
    response = client.get(PATH, headers=headers)
    assert response.headers.getlist("Access-Control-Allow-Origin") == ["*"]
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert "Set-Cookie" not in response.headers


def test_other_routes_stay_closed_to_other_origins(client: FlaskClient) -> None:
    for path in (f"{API}/posts", "/openapi.json", PATH + "/", "/.well-known/other"):
        assert "Access-Control-Allow-Origin" not in client.get(path, headers=ORIGIN).headers


def test_the_path_has_the_service_prefix(database_url: str, app: Flask) -> None:
    with replica(database_url, service_prefix="/example") as prefixed:
        assert prefixed.test_client().get("/example" + PATH).get_json() == {"keys": []}
        assert prefixed.test_client().get(PATH).status_code == 404


def test_the_set_is_served_during_maintenance(client: FlaskClient, carol: Person) -> None:
    assert carol.patch("/service-context", json={"maintenance": True}).status_code == 200
    deadline = time.monotonic() + 5
    while client.get(f"{API}/posts").status_code != 503:
        assert time.monotonic() < deadline
    assert client.get(PATH).status_code == 200
