"""Access policies: each endpoint declares one, which reads the Authorization header and returns the caller.

The auth feature verifies the tokens; this module must not know how they are made.
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

# RFC 6750 section 2.1 defines the token, RFC 9110 section 11.4 the rest. Schemes are case-insensitive.
_BEARER = re.compile(r"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)
_SCHEME = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_BEARER_WORD = re.compile(rf"(?<!{_SCHEME})bearer(?!{_SCHEME})", re.IGNORECASE)
_OTHER_SCHEME = re.compile(rf"{_SCHEME}+( +\S.*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The user and session of a valid access token, as read from the database for this request."""

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
        """Whether the caller is an administrator."""
        return self.role == "admin"


Authenticator = Callable[[str], Caller]
AccessLevel = Literal["nothing", "optional", "access", "fresh", "admin", "token"]


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """The credentials that a route requires; `describes` is shown in the OpenAPI document."""

    level: AccessLevel
    describes: str
    # The types of token that the route accepts.
    tokens: tuple[str, ...] = ("access",)
    # Whether the route accepts a refresh token in the cookie.
    takes_cookie: bool = False

    @property
    def finds_caller(self) -> bool:
        """Whether the policy authenticates the request, so that the view gets a `caller`."""
        return self.level not in ("nothing", "token")

    def admit(self) -> Caller | None:
        """Return the caller; None if the route is public and the request has no credentials.

        Raises the 401 or 403 problem for every other request, before the view checks whether the resource exists.
        """
        if not self.finds_caller:
            return None
        token = bearer_token()
        if token is None:
            if self.level == "optional":
                return None
            raise AuthenticationRequired
        caller = authenticate(token)
        if self.level == "admin" and not caller.is_admin:
            raise Forbidden
        if self.level == "fresh" and not caller.is_fresh:
            raise FreshTokenRequired
        return caller


ANYONE = AccessPolicy("nothing", "Anyone; credentials are ignored.")
OPTIONAL = AccessPolicy("optional", "Anyone; with an access token the response may contain more.")
SIGNED_IN = AccessPolicy("access", "An access token.")
FRESH = AccessPolicy("fresh", "The access token of a login or a reauthentication, not of a refresh.")
ADMIN = AccessPolicy("admin", "The access token of an administrator.")
# With the level "token" the view reads the token itself, from the header, the body or the cookie.
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
    """Return the caller of an access token. Raises TokenExpired, TokenInvalid or TokenRevoked."""
    caller = components().authenticate(token)
    g.caller = caller
    return caller


def bearer_token() -> str | None:
    """Return the bearer token of the request, or None if it has no Authorization header or an empty one.

    Raises AuthenticationRequired for another scheme and MalformedAuthorization for a header that does not contain
    exactly one credential: an intermediary may join two Authorization headers with a comma.
    """
    header = request.environ.get("HTTP_AUTHORIZATION", "").strip(" \t")
    if not header:
        return None
    match = _BEARER.fullmatch(header)
    if match:
        return match[1]
    if _BEARER_WORD.search(header) or not _OTHER_SCHEME.fullmatch(header):
        raise MalformedAuthorization("The Authorization header does not contain exactly one bearer token.")
    raise AuthenticationRequired
