"""Tokens signed with private keys: which keys verify them, and that no header of a token selects the algorithm.

Each test runs for ES256 and for EdDSA, on both databases.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jwt
import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.auth.tokens import make_access_token
from app.security import signing_keys as keys
from app.security.key_files import FileKey
from gatepost.testing.applications import replica
from tests.auth.keyrings import ALGORITHMS, forge, new_key, private_pem, public_pem, ring_of, write_key
from tests.auth.support import KEY, bearer, claims_of, encoded, get_me, log_in, refresh
from tests.conftest import API, Person, problem

INVALID = (401, "token_invalid")
OTHER_KEY = "another-key-that-is-long-enough-0123456789"


@pytest.fixture(scope="module", params=ALGORITHMS)
def key(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> FileKey:
    """A private key file."""
    return write_key(tmp_path_factory.mktemp("keys") / "token.pem", request.param)


@pytest.fixture(scope="module")
def lasting(shared_url: str, key: FileKey) -> Iterator[Flask]:
    """An application with a private key and a JWT_SECRET_KEY."""
    with replica(shared_url, jwt_private_key_file=key.path) as lasting:
        yield lasting


@pytest.fixture
def signing(app: Flask, lasting: Flask) -> Flask:
    """The application with a private key, on an empty database."""
    return lasting


@pytest.fixture
def client(signing: Flask) -> FlaskClient:
    """A client of that application."""
    return signing.test_client()


@pytest.fixture
def token(signing: Flask, alice: Person) -> str:
    """Alice's access token, signed with the private key."""
    return access_token(signing, alice)


def access_token(app: Flask, person: Person) -> str:
    """Return an access token that an application signed."""
    with app.app_context():
        return make_access_token(person.grant, fresh=True)


def refused(client: FlaskClient, token: str) -> None:
    """Check that every route refuses a token as `token_invalid`."""
    for response in (
        get_me(client, token),
        refresh(client, token),
        client.post(f"{API}/auth/logout", headers=bearer(token)),
        client.get(f"{API}/posts", headers=bearer(token)),
    ):
        assert problem(response) == INVALID
        assert response.headers["WWW-Authenticate"].startswith('Bearer realm="gatepost", error="invalid_token"')
        assert response.headers["Cache-Control"] == "no-store"


# The key that signs


def test_tokens_have_the_kid_and_the_algorithm_of_the_key(client: FlaskClient, alice: Person, key: FileKey) -> None:
    answer = log_in(client, alice.email).get_json()
    for name, typ in (("access_token", "at+jwt"), ("refresh_token", "rt+jwt")):
        assert jwt.get_unverified_header(answer[name]) == {"alg": key.algorithm, "kid": key.kid, "typ": typ}
        assert jwt.decode(answer[name], key.public, [key.algorithm], audience="gatepost")["sub"] == str(alice.id)


def test_a_session_from_login_to_logout(client: FlaskClient, alice: Person) -> None:
    first = log_in(client, alice.email).get_json()
    assert get_me(client, first["access_token"]).get_json()["id"] == alice.id
    second = refresh(client, first["refresh_token"]).get_json()
    assert get_me(client, second["access_token"]).status_code == 200
    assert client.post(f"{API}/auth/logout", headers=bearer(second["access_token"])).status_code == 204
    assert problem(get_me(client, second["access_token"])) == (401, "token_revoked")


def test_no_request_builds_a_key(
    client: FlaskClient, token: str, key: FileKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "load_keyring", None)
    hidden = Path(key.path).rename(f"{key.path}.hidden")
    try:
        assert get_me(client, token).status_code == 200
    finally:
        hidden.rename(key.path)


@pytest.mark.parametrize("other", ALGORITHMS)
def test_the_extension_accepts_the_same_tokens(
    app: Flask, database_url: str, alice: Person, key: FileKey, other: str, tmp_path: Path
) -> None:
    from flask_jwt_extended import get_current_user, jwt_required

    older = write_key(tmp_path / "older.pem", other)
    with (
        replica(database_url, jwt_private_key_file=older.path) as before,
        replica(database_url, jwt_private_key_file=key.path, jwt_verification_key_files=(older.path,)) as now,
    ):
        now.add_url_rule("/theirs", view_func=jwt_required()(lambda: {"id": get_current_user().id}))
        for signs in (before, now):
            token = access_token(signs, alice)
            assert now.test_client().get("/theirs", headers=bearer(token)).get_json() == {"id": alice.id}
            forged = forge(token, public_pem(new_key("ES256")), "HS256")
            assert problem(now.test_client().get("/theirs", headers=bearer(forged))) == INVALID


# Forgeries (RFC 8725 sections 2.1, 3.1 and 3.10)


def public_texts(key: FileKey) -> list[bytes]:
    """Return the encodings of a public key that an attacker could try as an HMAC secret."""
    pem = key.public_pem
    return [pem, pem.strip(), pem.replace(b"\n", b"\r\n"), key.jwk["x"].encode(), key.kid.encode(), b""]


def test_the_public_key_is_not_used_as_a_secret(client: FlaskClient, token: str, key: FileKey) -> None:
    for algorithm in ("HS256", "HS384", "HS512"):
        for text in public_texts(key):
            header = jwt.get_unverified_header(token)
            for said in (algorithm, key.algorithm):
                head = encoded(header | {"alg": said})
                body = f"{head}.{encoded(claims_of(token))}"
                digest = hmac.digest(text, body.encode(), algorithm.replace("HS", "sha"))
                refused(client, f"{body}.{encoded(digest)}")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS256", "RS256", "PS256", "ES384", "es256"])
def test_another_algorithm_in_the_header_is_refused(client: FlaskClient, token: str, algorithm: str) -> None:
    header, payload, signature = token.split(".")
    other = encoded(jwt.get_unverified_header(token) | {"alg": algorithm})
    assert header != other
    for forged in (f"{other}.{payload}.{signature}", f"{other}.{payload}.", f"{other}.{payload}"):
        refused(client, forged)


def test_a_key_is_used_with_no_other_algorithm(client: FlaskClient, token: str, key: FileKey) -> None:
    """The signature is valid; only the `alg` in the header is wrong."""
    for said in ("ES256", "EdDSA", "ES256K", "Ed25519", "none"):
        forged = forge(token, key.private, said, signs_as=key.algorithm)
        if said == key.algorithm:
            assert get_me(client, forged).status_code == 200
        else:
            refused(client, forged)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_foreign_key_is_refused_with_any_kid(
    client: FlaskClient, token: str, key: FileKey, algorithm: str, tmp_path: Path
) -> None:
    stranger = write_key(tmp_path / "stranger.pem", algorithm)
    for kid in (key.kid, stranger.kid, None):
        refused(client, forge(token, stranger.private, algorithm, {"kid": kid}))


@pytest.mark.parametrize(
    "kid", [None, "", "unknown", "token.pem", "../token.pem", "0", " ", 7, True, ["x"], {"x": 1}, 1.5], ids=repr
)
def test_a_valid_signature_with_no_or_an_unknown_kid_is_refused(
    client: FlaskClient, token: str, key: FileKey, kid: object
) -> None:
    assert get_me(client, forge(token, key.private, key.algorithm)).status_code == 200
    refused(client, forge(token, key.private, key.algorithm, {"kid": kid}))


@pytest.mark.parametrize("name", ["jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "crit", "zip"])
def test_a_key_in_the_header_is_refused(client: FlaskClient, token: str, key: FileKey, name: str) -> None:
    """Neither a foreign key nor our own one is read from the header, even with a valid signature."""
    stranger = new_key(key.algorithm)
    values: dict[str, Any] = {
        "jwk": dict(key.jwk),
        "x5c": ["MIIB"],
        "crit": ["exp"],
        "zip": "DEF",
    }
    extra = {name: values.get(name, "https://evil.example.com/key")}
    refused(client, forge(token, key.private, key.algorithm, extra))
    refused(client, forge(token, stranger, key.algorithm, extra))


def test_a_signature_has_one_valid_encoding(client: FlaskClient, token: str) -> None:
    text, _, signature = token.rpartition(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    # 64 bytes leave four bits of the last character unused.
    twin = alphabet[alphabet.index(signature[-1]) ^ 1]
    assert jwt.utils.base64url_decode(signature) == jwt.utils.base64url_decode(signature[:-1] + twin)
    for spelled in (signature[:-1] + twin, signature + "=", signature + "==", signature + "A", signature[:-1]):
        refused(client, f"{text}.{spelled}")
    refused(client, f"{text}.{signature.replace(signature[0], signature[0] + '~', 1)}")


def test_an_ecdsa_signature_outside_of_its_range_is_refused(client: FlaskClient, token: str, key: FileKey) -> None:
    """Some libraries accepted zeros as a valid signature of any message (CVE-2022-21449)."""
    text = token.rpartition(".")[0]
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    assert key.private is not None
    numbers = [bytes(64), b"\xff" * 64, order.to_bytes(32) * 2, b"", bytes(63), bytes(65)]
    if key.algorithm == "ES256":
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256

        assert isinstance(key.private, EllipticCurvePrivateKey)
        numbers.append(key.private.sign(text.encode(), ECDSA(SHA256())))  # In DER, as in certificates
    for number in numbers:
        refused(client, f"{text}.{encoded(number)}")


def test_with_a_private_key_the_secret_verifies_no_token(client: FlaskClient, alice: Person) -> None:
    """With a private key the secret is used for keyed hashes; JWT_PREVIOUS_SECRET_KEYS lets it verify tokens."""
    assert jwt.decode(alice.access_token, KEY, ["HS256"], audience="gatepost")
    refused(client, alice.access_token)


def test_a_secret_and_a_private_key_are_not_interchangeable(
    app: Flask, database_url: str, alice: Person, key: FileKey
) -> None:
    """With a secret and a private key, neither is used for the `kid` of the other."""
    with replica(database_url, jwt_private_key_file=key.path, jwt_previous_secret_keys=(KEY,)) as both:
        client = both.test_client()
        assert get_me(client, alice.access_token).status_code == 200
        kid = jwt.get_unverified_header(alice.access_token)["kid"]
        refused(client, forge(alice.access_token, key.private, key.algorithm, {"kid": kid}))
        refused(client, forge(alice.access_token, KEY.encode(), "HS256", {"kid": key.kid}))
        refused(client, forge(alice.access_token, key.public_pem, "HS256", {"kid": kid}, signs_as="HS256"))


# Several keys


def test_a_key_verifies_before_and_after_it_signs(
    app: Flask, database_url: str, alice: Person, key: FileKey, tmp_path: Path
) -> None:
    """Each replica accepts the tokens of the replicas one rotation step before and after it, for every kind of key."""
    old = write_key(tmp_path / "old.pem", "ES256")
    steps: list[dict[str, Any]] = [
        {"jwt_private_key_file": old.path},
        {"jwt_private_key_file": old.path, "jwt_verification_key_files": (key.path + ".pub",)},
        {"jwt_private_key_file": key.path, "jwt_verification_key_files": (old.path + ".pub",)},
        {"jwt_private_key_file": key.path},
    ]
    for before, after in pairwise(steps):
        with replica(database_url, **before) as first, replica(database_url, **after) as second:
            for signs, reads in ((first, second), (second, first)):
                granted = log_in(signs.test_client(), alice.email).get_json()
                assert get_me(reads.test_client(), granted["access_token"]).status_code == 200
                assert refresh(reads.test_client(), granted["refresh_token"]).status_code == 200
    with replica(database_url, **steps[0]) as first, replica(database_url, **steps[-1]) as last:
        refused(last.test_client(), access_token(first, alice))


def test_a_key_that_only_verifies_does_not_sign(
    app: Flask, database_url: str, alice: Person, key: FileKey, tmp_path: Path
) -> None:
    other = write_key(tmp_path / "other.pem", "ES256")
    with replica(database_url, jwt_private_key_file=key.path, jwt_verification_key_files=(other.path,)) as app:
        assert [k.kid for k in ring_of(app).keys.values() if k.signer is not None] == [key.kid]
        assert ring_of(app).signing.kid == key.kid


def test_the_repr_of_a_key_shows_no_secret(signing: Flask, key: FileKey) -> None:
    assert key.private is not None
    secret = private_pem(key.private).decode()
    for shown in (repr(ring_of(signing).keys), repr(key)):
        assert "PRIVATE KEY" not in shown
        assert "PrivateKey" not in shown
        assert secret.splitlines()[1] not in shown
