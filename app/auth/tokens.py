"""Tokens: making them, and judging them by the one rule of the contract (RFC 7519, RFC 8725, RFC 9068).

Owns keys, headers and claims. Must not query: whether the session still lives is the sessions' business.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

import jwt
from flask import Flask, current_app
from flask_jwt_extended import create_access_token, create_refresh_token

from app.db import MAX_ID
from app.errors import TokenExpired, TokenInvalid
from app.settings import Settings

LEEWAY_SECONDS = 30
ALGORITHM = "HS256"
KEYRING = "gatepost.keyring"
TYP = {"access": "at+jwt", "refresh": "rt+jwt"}
TokenType = Literal["access", "refresh"]
_REQUIRED = {
    "access": ("iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp", "type", "fresh"),
    "refresh": ("iss", "aud", "sub", "sid", "jti", "iat", "nbf", "exp", "type", "fresh", "gen"),
}
# RFC 8725 section 3.10: a header that names its own key, or an extension we do not know, is not believed.
_REFUSED_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c", "crit"})
# What the column holds; past it a comparison would overflow in the driver.
MAX_GENERATION = 2**31 - 2
_SUBJECT = re.compile(r"[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Keyring:
    """The signing key, and every key that tokens may still be signed with, by `kid`."""

    signing_kid: str
    keys: Mapping[str, str]
    issuer: str
    audience: str


@dataclass(frozen=True, slots=True)
class Claims:
    """What a valid token says."""

    type: str
    user_id: int
    session_id: int
    is_fresh: bool
    generation: int


def init_app(app: Flask, settings: Settings) -> None:
    """Configure Flask-JWT-Extended to make tokens as the contract has them, and build the keyring."""
    secrets = (settings.jwt_secret_key, *settings.jwt_previous_secret_keys)
    keys = {_kid(secret): secret for secret in secrets}
    app.extensions[KEYRING] = Keyring(_kid(settings.jwt_secret_key), keys, settings.jwt_issuer, settings.jwt_audience)
    app.config.update(
        JWT_SECRET_KEY=settings.jwt_secret_key,
        JWT_ALGORITHM=ALGORITHM,
        JWT_TOKEN_LOCATION=["headers"],
        JWT_COOKIE_CSRF_PROTECT=False,
        JWT_ENCODE_ISSUER=settings.jwt_issuer,
        JWT_DECODE_ISSUER=settings.jwt_issuer,
        JWT_ENCODE_AUDIENCE=settings.jwt_audience,
        JWT_DECODE_AUDIENCE=settings.jwt_audience,
        JWT_DECODE_LEEWAY=LEEWAY_SECONDS,
        JWT_ACCESS_TOKEN_EXPIRES=timedelta(minutes=settings.access_token_minutes),
    )


def _kid(secret: str) -> str:
    """A name for a secret that tells nothing of it."""
    return hashlib.blake2b(secret.encode(), digest_size=6, person=b"kid").hexdigest()


def make_access_token(user_id: int, session_id: int, *, fresh: bool) -> str:
    """Return a signed access token; `fresh` when the user has just proved who they are."""
    return str(
        create_access_token(
            str(user_id),
            fresh=fresh,
            additional_claims={"sid": session_id},
            additional_headers=_headers("access"),
        )
    )


def make_refresh_token(user_id: int, session_id: int, generation: int, *, lives: timedelta) -> str:
    """Return a signed refresh token of this generation of the session, valid for `lives`."""
    return str(
        create_refresh_token(
            str(user_id),
            expires_delta=lives,
            additional_claims={"sid": session_id, "gen": generation},
            additional_headers=_headers("refresh"),
        )
    )


def _headers(token_type: TokenType) -> dict[str, str]:
    return {"typ": TYP[token_type], "kid": _keyring().signing_kid}


def access_token_seconds() -> int:
    """Return for how many seconds a new access token is valid."""
    lives: timedelta = current_app.config["JWT_ACCESS_TOKEN_EXPIRES"]
    return int(lives.total_seconds())


def read_token(token: str, *types: TokenType) -> Claims:
    """Return what a token says if it is one of ours, of one of `types`, and its time has come and not passed.

    Raises TokenExpired, or TokenInvalid for everything else that is wrong with it.
    """
    keyring = _keyring()
    try:
        header = jwt.get_unverified_header(token)
        token_type = _judge_header(header, types)
        claims = jwt.decode(
            token,
            key_of(header),
            algorithms=[ALGORITHM],
            audience=keyring.audience,
            issuer=keyring.issuer,
            leeway=LEEWAY_SECONDS,
            options={"require": list(_REQUIRED[token_type]), "strict_aud": True},
        )
    except jwt.ExpiredSignatureError as error:
        raise TokenExpired from error
    except (
        jwt.PyJWTError,
        KeyError,
        ValueError,
        TypeError,
        RecursionError,
        OverflowError,
    ) as error:
        raise TokenInvalid from error
    return judge_claims(claims, token_type)


def _judge_header(header: Mapping[str, Any], types: tuple[TokenType, ...]) -> TokenType:
    for token_type in types:
        if header.get("typ") == TYP[token_type] and not _REFUSED_HEADERS & header.keys():
            return token_type
    raise TokenInvalid


def key_of(header: Mapping[str, Any]) -> str:
    """Return the key that a token names. Raises TokenInvalid for one that is not in the configured set."""
    try:
        return _keyring().keys[header["kid"]]
    except KeyError as error:
        raise TokenInvalid from error


def judge_claims(claims: Mapping[str, Any], token_type: TokenType) -> Claims:
    """Return what the claims of a token with a good signature say. Raises TokenInvalid for values we never sign."""
    subject, session_id = claims["sub"], claims["sid"]
    generation = claims.get("gen", 0)
    is_fresh = claims["fresh"]
    if not (
        claims["type"] == token_type
        and isinstance(subject, str)
        and _SUBJECT.fullmatch(subject)
        and int(subject) <= MAX_ID
        and _is_count(session_id, MAX_ID)
        and _is_count(generation, MAX_GENERATION)
        and isinstance(is_fresh, bool)
        and isinstance(claims["jti"], str)
        and claims["jti"]
    ):
        raise TokenInvalid
    return Claims(token_type, int(subject), session_id, is_fresh, generation)


def _is_count(value: object, maximum: int) -> bool:
    return type(value) is int and 0 <= value <= maximum


def _keyring() -> Keyring:
    keyring: Keyring = current_app.extensions[KEYRING]
    return keyring
