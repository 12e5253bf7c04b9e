"""Creates and validates access and refresh tokens (RFC 7519, RFC 8725, RFC 9068).

It does not query the database: app/auth/sessions.py checks whether the session of a token is live.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from time import time as seconds_now
from typing import Any, Literal

import jwt
from flask import Flask, current_app
from flask_jwt_extended import create_access_token, create_refresh_token
from jwt.utils import base64url_decode, base64url_encode

from app.api.errors import MalformedRequest, TokenExpired, TokenInvalid
from app.api.json_parser import parse_json
from app.components import components, components_of
from app.database import MAX_ID
from app.security.signing_keys import get_verification_key, keyring, load_keyring
from app.settings import Settings

LEEWAY_SECONDS = 30
MAX_TOKEN_LENGTH = 4096
TYP = {"access": "at+jwt", "refresh": "rt+jwt"}
TokenType = Literal["access", "refresh"]
_REQUIRED = ["iss", "aud", "sub", "sid", "nonce", "gen", "jti", "iat", "nbf", "exp", "type", "fresh"]
_TIMES = ("iat", "nbf", "exp")
# The last second of the year 9999, after which `datetime` ends, in seconds since the epoch.
MAX_TIME = 253_402_300_799
# RFC 8725 section 3.10: headers that bring or locate a key, and extensions that we do not implement.
_REFUSED_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c", "x5t", "x5t#S256", "crit", "b64", "zip"})
# The column's maximum less one, because a rotation compares with the next generation. More overflows in the driver.
MAX_GENERATION = 2**31 - 2
_SUBJECT = re.compile(r"[1-9][0-9]{0,18}")
_NONCE = re.compile(r"[A-Za-z0-9_-]{16}")
# RFC 7515 section 7.1 allows no padding, but PyJWT accepts it.
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class TokenSession:
    """What a token says of its session: the row, by user, id and nonce, and the generation that it was issued for."""

    user_id: int
    session_id: int
    nonce: str
    generation: int


@dataclass(frozen=True, slots=True)
class Claims(TokenSession):
    """The claims of a valid token that the application uses."""

    type: str
    is_fresh: bool
    # Seconds since the epoch (RFC 7519 section 2).
    valid_from: int
    expires_at: int


def init_app(app: Flask, settings: Settings) -> None:
    """Load the keys, and configure Flask-JWT-Extended to create our tokens."""
    # At start, so that no request reads a key file.
    ring = components_of(app).keyring = load_keyring(settings)
    # A client sends an access token many times, and verifying it takes as long as a simple request.
    components_of(app).verify_access_token = lru_cache(maxsize=4096)(lambda token: _verify(token, ("access",)))
    app.config.update(
        # The extension reads the first for HS256 and the second for other algorithms.
        JWT_SECRET_KEY=ring.signing.signer,
        JWT_PRIVATE_KEY=ring.signing.signer,
        JWT_ALGORITHM=ring.signing.algorithm,
        # All algorithms in use: read_token() runs before and checks that a key is used with its own one.
        JWT_DECODE_ALGORITHMS=sorted({key.algorithm for key in ring.keys.values()}),
        JWT_TOKEN_LOCATION=["headers"],
        JWT_COOKIE_CSRF_PROTECT=False,
        JWT_ENCODE_ISSUER=settings.jwt_issuer,
        JWT_DECODE_ISSUER=settings.jwt_issuer,
        JWT_ENCODE_AUDIENCE=settings.jwt_audience,
        JWT_DECODE_AUDIENCE=settings.jwt_audience,
        JWT_DECODE_LEEWAY=LEEWAY_SECONDS,
        JWT_ACCESS_TOKEN_EXPIRES=timedelta(minutes=settings.access_token_minutes),
    )


def make_access_token(session: TokenSession, *, fresh: bool) -> str:
    """Return a signed access token; `fresh` if the user has just entered the password."""
    return str(create_access_token(fresh=fresh, **_arguments(session, "access")))


def make_refresh_token(session: TokenSession, *, lifetime: timedelta) -> str:
    """Return a signed refresh token, valid for `lifetime`."""
    return str(create_refresh_token(expires_delta=lifetime, **_arguments(session, "refresh")))


def _arguments(session: TokenSession, token_type: TokenType) -> dict[str, Any]:
    """Return the arguments for the extension that both types of token have."""
    return {
        "identity": str(session.user_id),
        "additional_claims": {"sid": session.session_id, "nonce": session.nonce, "gen": session.generation},
        "additional_headers": {"typ": TYP[token_type], "kid": keyring().signing.kid},
    }


def access_token_seconds() -> int:
    """Return the lifetime of access tokens in seconds."""
    lifetime: timedelta = current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    return int(lifetime.total_seconds())


def read_token(token: str, *types: TokenType) -> Claims:
    """Return the claims of a token after validating signature, header and claims; it must be of one of `types`.

    Raises TokenExpired, or TokenInvalid for everything else.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise TokenInvalid
    if types != ("access",):
        return _verify(token, types)
    claims = components().verify_access_token(token)
    # Of the cached result only this can change: time passes, and the clock may be set back.
    now = seconds_now()
    if claims.expires_at + LEEWAY_SECONDS <= now:
        raise TokenExpired
    if claims.valid_from > now + LEEWAY_SECONDS:
        raise TokenInvalid
    return claims


def _verify(token: str, types: tuple[TokenType, ...]) -> Claims:
    try:
        header = _read_part(token, 0)
        token_type = _validate_header(header, types)
        _require_canonical(token)
        key = get_verification_key(header)
        # Before PyJWT, which converts times of other types, and finds a time before 1970 expired rather than invalid.
        _validate_times(_read_part(token, 1))
        claims = jwt.decode(
            token,
            key.verifier,
            algorithms=[key.algorithm],
            audience=current_app.config["JWT_DECODE_AUDIENCE"],
            issuer=current_app.config["JWT_DECODE_ISSUER"],
            leeway=LEEWAY_SECONDS,
            options={"require": _REQUIRED, "strict_aud": True},
        )
    except jwt.ExpiredSignatureError as error:
        raise TokenExpired from error
    except (
        jwt.PyJWTError,
        MalformedRequest,
        KeyError,
        ValueError,
        TypeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise TokenInvalid from error
    return validate_claims(claims, token_type)


def _read_part(token: str, number: int) -> Mapping[str, Any]:
    """Return the JSON object in one part of a token, parsed strictly.

    PyJWT accepts duplicate names, UTF-16 and a byte order mark, which two parsers may read differently (RFC 8725
    section 2.6). Raises TokenInvalid, ValueError, MalformedRequest.
    """
    if not _COMPACT.fullmatch(token):
        raise TokenInvalid
    part = parse_json(base64url_decode(token.split(".")[number]))
    if not isinstance(part, dict):
        raise TokenInvalid
    return part


def _validate_times(claims: Mapping[str, Any]) -> None:
    """Raise TokenInvalid for a time that is not an integer, is before 1970, or is after the year 9999."""
    if not all(_is_count(claims.get(name), MAX_TIME) for name in _TIMES):
        raise TokenInvalid


def _validate_header(header: Mapping[str, Any], types: tuple[TokenType, ...]) -> TokenType:
    for token_type in types:
        if header.get("typ") == TYP[token_type] and not _REFUSED_HEADERS & header.keys():
            return token_type
    raise TokenInvalid


def _require_canonical(token: str) -> None:
    """Raise TokenInvalid for a signature that is not in canonical base64 (RFC 4648 section 3.5).

    Otherwise one token could be sent as several different strings.
    """
    signature = token.rpartition(".")[2].encode()
    if base64url_encode(base64url_decode(signature)) != signature:
        raise TokenInvalid


def validate_claims(claims: Mapping[str, Any], token_type: TokenType) -> Claims:
    """Return the claims of a token whose signature is verified. Raises TokenInvalid for values that we never sign."""
    subject, session_id, nonce, generation = (claims[name] for name in ("sub", "sid", "nonce", "gen"))
    is_fresh = claims["fresh"]
    if not (
        claims["type"] == token_type
        and isinstance(subject, str)
        and _SUBJECT.fullmatch(subject)
        and int(subject) <= MAX_ID
        and _is_count(session_id, MAX_ID)
        and isinstance(nonce, str)
        and _NONCE.fullmatch(nonce)
        and _is_count(generation, MAX_GENERATION)
        and generation > 0
        and isinstance(is_fresh, bool)
        and isinstance(claims["jti"], str)
        and claims["jti"]
    ):
        raise TokenInvalid
    valid_from = max(claims["iat"], claims["nbf"])
    return Claims(int(subject), session_id, nonce, generation, token_type, is_fresh, valid_from, claims["exp"])


def _is_count(value: object, maximum: int) -> bool:
    return type(value) is int and 0 <= value <= maximum
