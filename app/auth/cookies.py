"""The refresh token as a cookie (RFC 6265bis), and the CSRF token that a page sends with it.

This module reads and writes the cookie. app/auth/credentials.py validates the token in it.
"""

from __future__ import annotations

import re
from datetime import timedelta

from flask import Response, after_this_request, request

from app.api.routing import API_PATH
from app.auth.tokens import TokenSession
from app.components import components
from app.settings import Settings

AUTH_PATH = API_PATH + "/auth"
# Browsers accept a cookie with this prefix only over TLS, so that an attacker on the network can't plant one. `__Host-`
# would keep sibling hosts from setting it too, but it requires Path=/, and then every request would carry the token.
SECURE_PREFIX = "__Secure-"
CSRF_HEADER = "X-CSRF-TOKEN"
_PURPOSE = b"csrf token"
# Servers join two Cookie lines with a comma, although RFC 9113 section 8.2.3 requires a semicolon. A token has neither.
_SEPARATOR = re.compile("[;,]")


def cookie_path(settings: Settings) -> str:
    """Return the path of the cookie: browsers send it only to URLs below."""
    return settings.service_prefix + AUTH_PATH


def cookie_name() -> str:
    """Return the cookie's name for the current request; browsers refuse the prefix over plain HTTP, even locally."""
    settings = components().settings
    has_prefix = request.scheme == "https" and settings.cookie_secure
    return SECURE_PREFIX + settings.cookie_name if has_prefix else settings.cookie_name


def refresh_cookies() -> list[str]:
    """Return the values of the cookies with our name, each once and without empty ones.

    A sibling host or another path may have set further ones. The order in which browsers send them means nothing.
    """
    # Not request.cookies: Werkzeug raises UnicodeDecodeError if any cookie is not in UTF-8.
    name = cookie_name()
    pairs = (pair.partition("=") for pair in _SEPARATOR.split(request.environ.get("HTTP_COOKIE", "")))
    values = (value.strip() for key, _, value in pairs if key.strip(" \t") == name)
    return list(dict.fromkeys(value for value in values if value))


def set_refresh_cookie(token: str, *, lifetime: timedelta) -> None:
    """Set the cookie in the response of this request, unless it fails: its session is then rolled back."""
    _set_unless(400, token, round(lifetime.total_seconds()))


def delete_refresh_cookie() -> None:
    """Delete the cookie with the response of this request, unless that is a 5xx: its session may then still be live."""
    _set_unless(500, "", 0)


def _set_unless(failed_status: int, value: str, max_age_seconds: int) -> None:
    """Set the cookie in the response of this request if its status is less than `failed_status`."""

    def add(response: Response) -> Response:
        if response.status_code < failed_status:
            settings = components().settings
            # Without Domain, so that subdomains do not receive it. A browser deletes a cookie only if name and path are
            # equal.
            response.set_cookie(
                cookie_name(),
                value,
                max_age=max_age_seconds,
                path=cookie_path(settings),
                secure=settings.cookie_secure,
                httponly=True,
                samesite=settings.cookie_samesite.title(),
            )
        return response

    after_this_request(add)


def make_csrf_token(session: TokenSession) -> str:
    """Return the CSRF token of a session: constant for its lifetime, so that tabs need not exchange new ones."""
    return components().keyed_hasher.sign(_PURPOSE, _csrf_data(session)).hex()


def is_valid_csrf_token(token: str, session: TokenSession) -> bool:
    """Return whether `token` is the CSRF token of this session; compares in constant time."""
    try:
        signature = bytes.fromhex(token)
    except ValueError:
        return False
    return components().keyed_hasher.verify(_PURPOSE, _csrf_data(session), signature)


def _csrf_data(session: TokenSession) -> bytes:
    return f"{session.user_id}:{session.session_id}:{session.nonce}".encode()
