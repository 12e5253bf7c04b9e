"""Forged, malformed, misplaced and expired tokens, each as an access and as a refresh token.

tests/auth/test_tokens.py has the tables of claims and headers; here are tokens that other code may read before them.

Most are signed with the genuine key, so that each is refused only for the one thing that was changed.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from tests.auth.support import KEY, claims_of, encoded, reissue, sign
from tests.conftest import API
from tests.hostile.cases import JSON, Case, ask, check, table
from tests.hostile.target import ALICE, CAROL, DORA, ERNA, Target, message

Forge = Callable[[str], str]
NOW = int(time.time())
HOUR = 3600
WEAK_KEYS = ["", "secret", "changeme", "your-256-bit-secret", "0" * 32, KEY.upper(), KEY + " ", KEY[:-1]]


def signed(**changes: Any) -> Forge:
    """Return the genuine token with other claims, signed with the genuine key."""
    return partial(reissue, **changes)


def headed(**headers: Any) -> Forge:
    """Return the genuine token with other headers, signed with the genuine key."""
    return partial(reissue, headers=headers)


def unsigned(**headers: Any) -> Forge:
    """Return the genuine claims with an empty signature."""
    return lambda token: reissue(token, headers=headers).rpartition(".")[0] + "."


def hashed(algorithm: str, digest: str) -> Forge:
    """Return the genuine token, signed with the genuine key by another algorithm."""

    def forge(token: str) -> str:
        text = reissue(token, headers={"alg": algorithm}).rpartition(".")[0]
        return f"{text}.{encoded(hmac.digest(KEY.encode(), text.encode(), digest))}"

    return forge


def parts(change: Callable[[str, str, str], str]) -> Forge:
    """Return the three parts of the genuine token, joined in another way."""
    return lambda token: change(*token.split("."))


def header_bytes(change: Callable[[bytes], bytes]) -> Forge:
    """Return the genuine token with other bytes as its header, signed with the genuine key."""

    def forge(token: str) -> str:
        head = base64.urlsafe_b64decode(token.split(".")[0] + "==")
        return sign(change(head), claims_of(token))

    return forge


def claim_bytes(change: Callable[[bytes], bytes]) -> Forge:
    """Return the genuine token with other bytes as its payload, signed with the genuine key."""

    def forge(token: str) -> str:
        head = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
        return sign(head, change(json.dumps(claims_of(token)).encode()))

    return forge


def member(text: bytes) -> Callable[[bytes], bytes]:
    """Append a member to a JSON object, even if it has one with this name."""
    return lambda data: data[:-1] + b"," + text + b"}"


def first(text: bytes) -> Callable[[bytes], bytes]:
    """Insert a member at the beginning of a JSON object."""
    return lambda data: b"{" + text + b"," + data[1:]


def flip_trailing_bits(token: str) -> str:
    """Replace the last character by one that lenient decoders decode to the same signature."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


# Algorithm confusion: a public key of RS256 used as the secret of HS256.
THUMBPRINT = hashlib.sha256(KEY.encode()).hexdigest()
OWN_KEY = {"kty": "oct", "k": encoded(KEY.encode()), "alg": "HS256"}

INVALID: dict[str, Forge] = {
    # Signatures and algorithms (RFC 8725 sections 2.1, 3.1, 3.2)
    "alg none with space": unsigned(alg="none "),
    "alg none with NUL": unsigned(alg="none\x00"),
    "alg an object": headed(alg={"alg": "HS256"}),
    "alg true": headed(alg=True),
    "alg lower case": headed(alg="hs256"),
    "alg with space": headed(alg=" HS256"),
    "alg with newline": headed(alg="HS256\n"),
    "alg of another script": headed(alg="ＨＳ256"),
    "alg very long": headed(alg="HS256" * 500),
    "alg HS1": hashed("HS1", "sha1"),
    "alg PS256": headed(alg="PS256"),
    "alg ES256 with the blank signature": lambda token: (
        reissue(token, headers={"alg": "ES256"}).rpartition(".")[0] + "." + encoded(bytes(64))
    ),
    "alg EdDSA with the blank signature": lambda token: (
        reissue(token, headers={"alg": "EdDSA"}).rpartition(".")[0] + "." + encoded(bytes(64))
    ),
    "alg ES256K": headed(alg="ES256K"),
    "alg A256KW": headed(alg="A256KW"),
    "alg PBES2 with endless rounds": headed(alg="PBES2-HS256+A128KW", p2c=2**31 - 1, p2s="x", enc="A128GCM"),
    "unsigned, alg as it was": unsigned(),
    "signature of nothing": parts(lambda h, p, s: f"{h}.{p}.{encoded(bytes(32))}"),
    "signature cut": parts(lambda h, p, s: f"{h}.{p}.{s[:-4]}"),
    "signature twice": parts(lambda h, p, s: f"{h}.{p}.{s}{s}"),
    "signature of the payload alone": parts(
        lambda h, p, s: f"{h}.{p}.{encoded(hmac.digest(KEY.encode(), p.encode(), 'sha256'))}"
    ),
    "signature in hex": parts(
        lambda h, p, s: f"{h}.{p}.{hmac.digest(KEY.encode(), f'{h}.{p}'.encode(), 'sha256').hex()}"
    ),
    **{f"guessed key {number}": signed(key=key) for number, key in enumerate(WEAK_KEYS)},
    "key hashed": signed(key=THUMBPRINT),
    # The source of the key (RFC 8725 section 3.10)
    "kid absolute path": headed(kid="/proc/sys/kernel/randomize_va_space"),
    "kid URL": headed(kid="https://evil.example/key"),
    "kid command": headed(kid="|id"),
    "kid template": headed(kid="{{7*7}}"),
    "kid with NUL": headed(kid="a\x00b"),
    "kid huge": headed(kid="k" * 4000),
    "kid a list": headed(kid=["a"]),
    "kid __class__": headed(kid="__class__"),
    "kid in upper case": lambda token: _with_kid(token, str.upper),
    "kid with space": lambda token: _with_kid(token, lambda kid: kid + " "),
    "jku of ourselves": headed(jku="https://api.example.com/.well-known/jwks.json"),
    "jku null": header_bytes(member(b'"jku": null')),
    "jwk with our own key": headed(jwk=OWN_KEY),
    "crit of a foreign extension": headed(crit=["http://evil.example/"], **{"http://evil.example/": 1}),
    # The type of the token (RFC 8725 section 3.11)
    "typ logout": headed(typ="logout+jwt"),
    "typ upper case": headed(typ="AT+JWT"),
    "typ a list": headed(typ=["at+jwt", "rt+jwt"]),
    "typ an object": headed(typ={}),
    "typ with space": headed(typ="at+jwt "),
    "type claim with NUL": signed(type="access\x00"),
    # The subject and the session
    "iss upper case": signed(iss="GATEPOST"),
    "iss with slash": signed(iss="gatepost/"),
    "aud prefix": signed(aud="gatepost-admin"),
    "aud star": signed(aud="*"),
    "sub a list": signed(sub=[str(ALICE)]),
    "sub a list of several": signed(sub=[str(ALICE), str(CAROL)]),
    "sub with newline": signed(sub="1\n"),
    "sub with NUL": signed(sub="1\x00"),
    "sub in hex": signed(sub="0x1"),
    "sub with exponent": signed(sub="1e0"),
    "sub SQL": signed(sub="1 OR 1=1"),
    "sub email": signed(sub="alice@example.com"),
    "sid SQL": signed(sid="1 OR 1=1"),
    "nonce SQL": signed(nonce="' OR nonce > '  "),
    # The times of validity
    "exp digits as text": signed(exp=str(NOW + HOUR)),
    "exp 1e400": claim_bytes(lambda data: data.replace(b'"exp"', b'"exp": 1e400, "x"')),
    "exp 10^400": signed(exp=10**400),
    "exp of 5000 digits": claim_bytes(member(b'"exp": ' + b"9" * 5000)),
    "iat in the future": signed(iat=NOW + 12 * HOUR),
    "iat digits as text": signed(iat=str(NOW)),
    "nbf in the future": signed(nbf=NOW + 12 * HOUR),
    "nbf digits as text": signed(nbf=str(NOW)),
    # Texts that parsers interpret differently
    "header twice alg": header_bytes(member(b'"alg": "none"')),
    "header alg before": header_bytes(first(b'"alg": "none"')),
    "header twice typ": header_bytes(first(b'"typ": "JWT"')),
    "header twice kid": header_bytes(first(b'"kid": "evil"')),
    "claims twice sub": claim_bytes(first(b'"sub": "%d"' % CAROL)),
    "claims twice exp": claim_bytes(first(b'"exp": 1')),
    "claims twice type": claim_bytes(first(b'"type": "id"')),
    "header with BOM": header_bytes(lambda data: b"\xef\xbb\xbf" + data),
    "claims with BOM": claim_bytes(lambda data: b"\xef\xbb\xbf" + data),
    "header in UTF-16": header_bytes(lambda data: data.decode().encode("utf-16")),
    "claims in UTF-16": claim_bytes(lambda data: data.decode().encode("utf-16")),
    "claims with trailing garbage": claim_bytes(lambda data: data + b"}"),
    "claims NaN": claim_bytes(member(b'"x": NaN')),
    "header a list": lambda token: sign([1], claims_of(token)),
    "header text": lambda token: sign("alg", claims_of(token)),
    "header null": lambda token: sign(None, claims_of(token)),
    "header empty": lambda token: sign(b"", claims_of(token)),
    "claims a list": claim_bytes(lambda data: b"[" + data + b"]"),
    "header nested": header_bytes(member(b'"x": ' + b"[" * 1500 + b"]" * 1500)),
    "claims nested": claim_bytes(member(b'"x": ' + b"[" * 2000 + b"]" * 2000)),
    "claims nested without end": claim_bytes(lambda data: b'{"x":' * 500),
    "claims in deflate": lambda token: reissue(token, headers={"zip": "DEF"}),
    # Other encodings of the same bytes
    "padding": lambda token: token + "=",
    "padding in all parts": parts(lambda h, p, s: f"{h}{'=' * (-len(h) % 4)}.{p}{'=' * (-len(p) % 4)}.{s}="),
    "trailing bits": flip_trailing_bits,
    "alphabet of plain base64": parts(lambda h, p, s: f"{h}.{p}.{s.replace('-', '+').replace('_', '/')}+"),
    "four parts": lambda token: token + ".x",
    "five parts, as encrypted": lambda token: token + ".x.x",
    "two parts": parts(lambda h, p, s: f"{h}.{p}"),
    "parts turned round": parts(lambda h, p, s: f"{s}.{p}.{h}"),
    "token in base64": lambda token: base64.urlsafe_b64encode(token.encode()).decode().rstrip("="),
    "JSON serialization": lambda token: encoded({"payload": token}),
}
REVOKED: dict[str, Forge] = {
    "session far past the last": signed(sid=2**62),
    "administrator in our session": signed(sub=str(CAROL)),
    "session that ended": signed(sub=str(ERNA), sid=ERNA),
    "user who is disabled": signed(sub=str(DORA), sid=DORA),
}
EXPIRED: dict[str, Forge] = {
    "exp an hour ago": signed(exp=NOW - HOUR),
    "exp one": signed(exp=1),
    "exp zero": signed(exp=0),
}
FORGERIES = [
    *((name, forge, "token_invalid") for name, forge in INVALID.items()),
    *((name, forge, "token_revoked") for name, forge in REVOKED.items()),
    *((name, forge, "token_expired") for name, forge in EXPIRED.items()),
]


def _with_kid(token: str, change: Callable[[str], str]) -> str:
    head = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))
    return reissue(token, headers={"kid": change(head["kid"])})


def presented(name: str, forge: Forge, code: str, kind: str) -> Case:
    """Return a case of a forged token in the place for tokens of its type."""

    def build(target: Target) -> bytes:
        if kind == "access":
            return message("GET", f"{API}/auth/me", {"Authorization": f"Bearer {forge(target.alice.access)}"})
        # In the body, because there the grammar of the Authorization header does not refuse the token first.
        body = json.dumps({"refresh_token": forge(target.alice.refresh)})
        return message("POST", f"{API}/auth/refresh", {"Content-Type": JSON}, body)

    return Case(f"{kind}: {name}", 401, code, build)


# Other rules apply first to a token of more than 4 kB in a body, and to one with '=' before its end in the header.
TOO_LONG = {"header nested", "claims nested", "claims nested without end", "exp of 5000 digits"}
NOT_AS = {"refresh": {*TOO_LONG, "kid huge"}, "access": {"padding in all parts"}}
CASES = [
    presented(name, forge, code, kind)
    for kind, elsewhere in NOT_AS.items()
    for name, forge, code in FORGERIES
    if name not in elsewhere
]


@table(CASES)
def test_a_forged_token(target: Target, case: Case) -> None:
    check(target, case)


def test_genuine_tokens_signed_again_are_accepted(target: Target) -> None:
    """Control cases: the cases above are refused only for the one thing that each changes."""
    for kind in ("access", "refresh"):
        check(target, Case("genuine", 200, "", presented("genuine", reissue, "", kind).build))


def bearer(name: str, request: str, status: int, code: str, token: Forge, kind: str = "access") -> Case:
    """Return a case of a token in a place for another type."""

    def build(target: Target) -> bytes:
        text = token(getattr(target.alice, kind))
        method, _, path = request.partition(" ")
        return message(method, API + path, {"Authorization": f"Bearer {text}"})

    return Case(name, status, code, build)


MISPLACED = [
    bearer("refresh as access on a write", "POST /posts", 401, "token_invalid", str, "refresh"),
    bearer("refresh as access on a public route", "GET /posts", 401, "token_invalid", str, "refresh"),
    bearer("access dressed as refresh", "POST /auth/refresh", 401, "token_invalid", headed(typ="rt+jwt")),
    bearer("access that claims refresh", "POST /auth/refresh", 401, "token_invalid", signed(type="refresh")),
    bearer("role in the token", "GET /service-context", 403, "forbidden", signed(role="admin", is_admin=True)),
    bearer("scope in the token", "POST /users", 403, "forbidden", signed(scope="admin", roles=["admin"])),
    bearer("8 kB token", "GET /auth/me", 401, "token_invalid", lambda token: "e" * 8000),
    bearer("3 MB token", "GET /auth/me", 431, "headers_too_large", lambda token: "e" * 3_000_000),
    bearer("9 kB claims", "GET /auth/me", 431, "headers_too_large", signed(x="y" * 9000)),
    ask("3 MB refresh token", "POST /auth/refresh", 413, "payload_too_large", body={"refresh_token": "e" * 3_000_000}),
    ask("refresh token with NUL", "POST /auth/refresh", 422, "validation_error", body={"refresh_token": "a\x00"}),
    ask("refresh token with a scheme", "POST /auth/refresh", 401, "token_invalid", body={"refresh_token": "Bearer e"}),
]


@table(MISPLACED)
def test_a_misplaced_token(target: Target, case: Case) -> None:
    check(target, case)


@pytest.mark.parametrize("gen", [2, 3, 2**31 - 2])
def test_a_generation_that_the_database_never_issued_ends_no_session(target: Target, gen: int) -> None:
    check(target, bearer("later", "POST /auth/refresh", 401, "token_revoked", signed(gen=gen), "refresh"))


@pytest.mark.parametrize("gen", [0, 2**31, "1 OR 1=1"])
def test_an_invalid_generation_ends_no_session(target: Target, gen: object) -> None:
    check(target, bearer("gen", "POST /auth/refresh", 401, "token_invalid", signed(gen=gen), "refresh"))
