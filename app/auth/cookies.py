"""The refresh token as a cookie, and the CSRF token by which a page shows that it was let in (RFC 6265bis).

Owns the cookie's name and attributes. Must not judge tokens: what a cookie holds is a credential like any other.
"""

from __future__ import annotations

from datetime import timedelta

from flask import Response, after_this_request, request

from app.api.errors import MalformedAuthorization
from app.api.routing import API_PATH
from app.components import components
from app.security.keyed_hashes import KeyedHasher
from app.settings import Settings

AUTH_PATH = API_PATH + "/auth"
NAME = "gatepost_refresh"
# With it a browser takes the cookie over TLS alone, so that nobody on the wire can plant one. `__Host-` would keep
# sibling hosts out as well, but it asks for Path=/, and the token would go with every request.
SECURE_PREFIX = "__Secure-"
CSRF_HEADER = "X-CSRF-TOKEN"
_CSRF_KEY = "HTTP_X_CSRF_TOKEN"
_PURPOSE = b"csrf token"


def cookie_path(settings: Settings) -> str:
    """Return the path below which browsers show the cookie."""
    return settings.service_prefix + AUTH_PATH


def cookie_name() -> str:
    """Return the cookie's name in this request: a browser refuses the prefix over plain HTTP, on localhost too."""
    return SECURE_PREFIX + NAME if request.scheme == "https" and _settings().cookie_secure else NAME


def cookie_values() -> list[str]:
    """Return what the request's cookies of our name hold; several come from a sibling host, or another path.

    Werkzeug's parser raises UnicodeDecodeError for bytes in any cookie that are not UTF-8.
    """
    name = cookie_name()
    pairs = (pair.partition("=") for pair in request.environ.get("HTTP_COOKIE", "").split(";"))
    return [value.strip() for key, _, value in pairs if key.strip(" \t") == name]


def find_cookie() -> str | None:
    """Return the refresh token that came as the cookie, or None. Raises MalformedAuthorization for several cookies."""
    values = cookie_values()
    if len(values) > 1:
        raise MalformedAuthorization(f"There is more than one cookie named {cookie_name()}.")
    return values[0] or None if values else None


def put(token: str, *, lives: timedelta) -> None:
    """Send a refresh token as the cookie, unless the request ends as a refusal: its session was then rolled back."""

    def write(response: Response) -> Response:
        if response.status_code < 400:
            _write(response, token, round(lives.total_seconds()))
        return response

    after_this_request(write)


def drop() -> None:
    """Have the browser forget the cookie, unless the request fails: its session may then live on."""

    def write(response: Response) -> Response:
        if response.status_code < 500:
            _write(response, "", 0)
        return response

    after_this_request(write)


def _write(response: Response, value: str, seconds: int) -> None:
    # Without Domain: subdomains don't get it. A cookie is only forgotten by the attributes it was made with.
    settings = _settings()
    response.set_cookie(
        cookie_name(),
        value,
        max_age=seconds,
        path=cookie_path(settings),
        secure=settings.cookie_secure,
        httponly=True,
        samesite=settings.cookie_samesite.title(),
    )


def make_csrf_token(user_id: int, session_id: int) -> str:
    """Return the CSRF token of a session: the same for all its life, so that tabs need not tell each other."""
    return _signer().sign(_PURPOSE, _subject(user_id, session_id)).hex()


def csrf_token() -> str | None:
    """Return what the request echoes, or None."""
    token: str | None = request.environ.get(_CSRF_KEY)
    return token


def is_csrf_token(token: str, user_id: int, session_id: int) -> bool:
    """Whether `token` was made for this session. Takes as long for one that is nearly right."""
    try:
        signature = bytes.fromhex(token)
    except ValueError:
        return False
    return _signer().verify(_PURPOSE, _subject(user_id, session_id), signature)


def _subject(user_id: int, session_id: int) -> bytes:
    return f"{user_id}:{session_id}".encode()


def _signer() -> KeyedHasher:
    return components().keyed_hasher


def _settings() -> Settings:
    return components().settings
