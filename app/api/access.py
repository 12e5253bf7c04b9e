"""Who may call a route: the guards that every endpoint declares, and the caller they find.

Owns the Authorization header. Must not know how tokens are made: the auth feature says who holds one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from flask import g, request

from app.api.errors import AuthenticationRequired, Forbidden, FreshTokenRequired, MalformedAuthorization
from app.components import components

# RFC 6750 section 2.1 for the token, RFC 9110 section 11.4 for the rest. Schemes are case-insensitive.
_BEARER = re.compile(r"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)
_SCHEME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_BEARER_WORD = re.compile(rf"(?<!{_SCHEME})bearer(?!{_SCHEME})", re.IGNORECASE)
_OTHER_SCHEME = re.compile(rf"{_SCHEME}+( +\S.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The user behind a valid access token, as the database knows them at this moment."""

    id: int
    name: str
    bio: str
    email: str
    email_verified: bool
    role: str
    is_active: bool
    created_at: datetime
    updated_at: datetime
    session_id: int
    is_fresh: bool

    @property
    def is_admin(self) -> bool:
        """Whether the caller may act on what belongs to others."""
        return self.role == "admin"


Authenticator = Callable[[str], Caller]
AccessLevel = Literal["nothing", "optional", "access", "fresh", "admin", "token"]


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """What a route asks of its caller; `describes` is for the API's reader."""

    need: AccessLevel
    describes: str
    # The kinds of token that count as credentials here.
    tokens: tuple[str, ...] = ("access",)
    # Whether a refresh token may come as the cookie.
    takes_cookie: bool = False

    def admit(self) -> Caller | None:
        """Return the caller, or None where nobody need be known.

        Raises the 401 or 403 that keeps everyone else out, whether or not the resource exists.
        """
        if self.need in ("nothing", "token"):
            return None
        token = bearer_token()
        if token is None:
            if self.need == "optional":
                return None
            raise AuthenticationRequired
        caller = authenticate(token)
        if self.need == "admin" and not caller.is_admin:
            raise Forbidden
        if self.need == "fresh" and not caller.is_fresh:
            raise FreshTokenRequired
        return caller


ANYONE = AccessPolicy("nothing", "Anyone; credentials are not looked at.")
OPTIONAL = AccessPolicy("optional", "Anyone; with an access token the answer may hold more.")
SIGNED_IN = AccessPolicy("access", "An access token.")
FRESH = AccessPolicy("fresh", "The access token of a login, not of a refresh.")
ADMIN = AccessPolicy("admin", "The access token of an administrator.")
# What the route itself takes, from the header, from the body or as the cookie.
REFRESH_TOKEN = AccessPolicy(
    "token",
    "A refresh token, as a bearer token, in the body, or as the cookie with its CSRF token.",
    ("refresh",),
    takes_cookie=True,
)
ANY_TOKEN = AccessPolicy(
    "token",
    "An access or a refresh token, as a bearer token, in the body, or as the cookie with its CSRF token.",
    ("access", "refresh"),
    takes_cookie=True,
)


def authenticate(token: str) -> Caller:
    """Return the caller whose access token this is; raises the 401 that says what is wrong with it."""
    caller = components().authenticate(token)
    g.caller = caller
    return caller


def bearer_token() -> str | None:
    """Return the bearer token of the request, or None when there are no credentials.

    Raises AuthenticationRequired for another scheme, MalformedAuthorization for a header that is no
    credentials or several: an intermediary may join two Authorization headers with a comma.
    """
    header = request.environ.get("HTTP_AUTHORIZATION")
    if header is None:
        return None
    header = header.strip(" \t")
    match = _BEARER.fullmatch(header)
    if match:
        return match[1]
    if _BEARER_WORD.search(header) or not _OTHER_SCHEME.fullmatch(header):
        raise MalformedAuthorization("The Authorization header does not hold one bearer token.")
    raise AuthenticationRequired
