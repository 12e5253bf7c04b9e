"""The credential of a refresh or a logout: a bearer token, a member of the body, or the cookie with its CSRF token."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flask import request

from app.api.access import bearer_token
from app.api.errors import AuthenticationRequired, MalformedAuthorization, Problem, TokenExpired, TokenInvalid
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
    sent = [str(token) for token in (bearer_token(), body.get("refresh_token")) if token is not None]
    found, csrf_token = cookies.refresh_cookies(), request.headers.get(cookies.CSRF_HEADER)
    # Browsers send cookies with requests of any site, and that of another service on this host with ours.
    has_cookie = bool(found) and csrf_token is not None
    if len(sent) + has_cookie > 1:
        raise MalformedAuthorization("Send one token: in the Authorization header, in the body or as the cookie.")
    if sent:
        return Credential(read_token(sent[0], *types), is_cookie=False)
    if csrf_token is None and found:
        raise AuthenticationRequired(f"Send the CSRF token of the cookie in {cookies.CSRF_HEADER}.")
    if csrf_token is None or not found:
        raise AuthenticationRequired
    return Credential(_read_cookie(found, csrf_token), is_cookie=True)


def _read_cookie(found: Sequence[str], csrf_token: str) -> Claims:
    """Return the claims of that of the different values `found` which the CSRF token fits, of several the newest.

    The cookie is deleted only if it is the only one and has expired. One that is invalid here may be of another service
    on this host, or of a replica with a newer key or another clock. Any site can send a wrong CSRF token.
    """
    fitting: list[Claims] = []
    refusals: list[Problem] = []
    for cookie in found:
        try:
            claims = read_token(cookie, "refresh")
        except (TokenExpired, TokenInvalid) as problem:
            refusals.append(problem)
            continue
        if cookies.is_valid_csrf_token(csrf_token, claims):
            fitting.append(claims)
        else:
            refusals.append(TokenInvalid(f"{cookies.CSRF_HEADER} is not the CSRF token of the cookie's session."))
    if fitting:
        return max(fitting, key=lambda claims: claims.generation)
    if len(refusals) > 1:
        raise TokenInvalid(f"{cookies.CSRF_HEADER} is not the CSRF token of any of the cookies' sessions.")
    if isinstance(refusals[0], TokenExpired):
        cookies.delete_refresh_cookie()
    raise refusals[0]


def delete_cookie_of(user_id: int | None = None, session_id: int | None = None) -> None:
    """Delete the cookie if its token is valid, and of this session and this user; None means any."""
    for cookie in cookies.refresh_cookies():
        try:
            claims = read_token(cookie, "refresh")
        except (TokenExpired, TokenInvalid):
            continue
        if user_id in (None, claims.user_id) and session_id in (None, claims.session_id):
            cookies.delete_refresh_cookie()
            return
