"""The credential of a refresh or a logout: a bearer token, a member of the body, or the cookie with its CSRF token."""

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
    """The validated claims of the request's token, and whether it came in the cookie."""

    claims: Claims
    is_cookie: bool


def read_credential(body: Mapping[str, Any], *types: TokenType) -> Credential:
    """Validate the one credential of the request, a token of one of `types`. The session is not looked up.

    Raises AuthenticationRequired for none, MalformedAuthorization for several, TokenExpired and TokenInvalid.
    """
    header, member, cookie = bearer_token(), body.get("refresh_token"), cookies.find_refresh_cookie()
    sent = [str(token) for token in (header, member, cookie) if token is not None]
    if len(sent) > 1:
        raise MalformedAuthorization("Send one token: in the Authorization header, in the body or as the cookie.")
    if not sent:
        raise AuthenticationRequired
    if cookie is not None:
        return Credential(_read_cookie(cookie), is_cookie=True)
    return Credential(read_token(sent[0], *types), is_cookie=False)


def _read_cookie(cookie: str) -> Claims:
    """Validate the token of a cookie and its CSRF token: browsers send cookies with requests of any site."""
    csrf_token = cookies.find_csrf_token()
    if csrf_token is None:
        raise AuthenticationRequired(f"Send the CSRF token of the cookie in {cookies.CSRF_HEADER}.")
    try:
        claims = read_token(cookie, "refresh")
    except (TokenExpired, TokenInvalid):
        cookies.delete_refresh_cookie()
        raise
    # The cookie is kept here, or another site could sign the user out by sending a wrong CSRF token.
    if not cookies.is_valid_csrf_token(csrf_token, claims):
        raise TokenInvalid(f"{cookies.CSRF_HEADER} is not the CSRF token of the cookie's session.")
    return claims


def delete_cookie_of(user_id: int, session_id: int | None = None) -> None:
    """Delete the cookie if it belongs to this session of the user; without `session_id`, to any of the user's."""
    for cookie in cookies.refresh_cookies():
        try:
            claims = read_token(cookie, "refresh")
        except (TokenExpired, TokenInvalid):
            continue
        if claims.user_id == user_id and session_id in (None, claims.session_id):
            cookies.delete_refresh_cookie()
            return
