"""The one credential of a refresh or a logout: a bearer token, a member of the body, or the cookie with its CSRF token.

Must not query: whether the session behind it lives is the sessions' business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.api.access import bearer_token
from app.api.errors import AuthenticationRequired, MalformedAuthorization, TokenExpired, TokenInvalid
from app.auth import cookies
from app.auth.tokens import Claims, TokenType, read_token


@dataclass(frozen=True, slots=True)
class Credential:
    """What the token of a request says, and whether it came as the cookie."""

    claims: Claims
    is_cookie: bool


def read_credential(body: Mapping[str, Any], *types: TokenType) -> Credential:
    """Return the one credential of the request.

    Raises AuthenticationRequired for none, MalformedAuthorization for two, TokenExpired and TokenInvalid.
    """
    header, member, cookie = bearer_token(), body.get("refresh_token"), cookies.find_cookie()
    sent = [str(token) for token in (header, member, cookie) if token is not None]
    if len(sent) > 1:
        raise MalformedAuthorization("Send one token: in the Authorization header, in the body or as the cookie.")
    if not sent:
        raise AuthenticationRequired
    if cookie is not None:
        return Credential(_read_cookie(cookie), is_cookie=True)
    return Credential(read_token(sent[0], *types), is_cookie=False)


def _read_cookie(cookie: str) -> Claims:
    """Judge a cookie, which browsers send whoever asks: it counts once the page shows that it knows the session."""
    echoed = cookies.csrf_token()
    if echoed is None:
        raise AuthenticationRequired(f"The cookie counts only with its CSRF token in {cookies.CSRF_HEADER}.")
    try:
        claims = read_token(cookie, "refresh")
    except (TokenExpired, TokenInvalid):
        cookies.drop()
        raise
    # The cookie stays: whoever guesses must not be able to sign its owner out.
    if not cookies.is_csrf_token(echoed, claims.user_id, claims.session_id):
        raise TokenInvalid(f"{cookies.CSRF_HEADER} is not the CSRF token of the cookie's session.")
    return claims


def forget_cookie(user_id: int, session_id: int | None = None) -> None:
    """Drop the cookie if it is of this user's sessions that have just been ended: one of them, or all."""
    for cookie in cookies.cookie_values():
        try:
            claims = read_token(cookie, "refresh")
        except (TokenExpired, TokenInvalid):
            continue
        if claims.user_id == user_id and session_id in (None, claims.session_id):
            cookies.drop()
            return
