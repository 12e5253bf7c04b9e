"""The address and the user agent of a request's client, in a form that is safe to store and to show."""

from __future__ import annotations

from flask import request

ADDRESS_LENGTH = 45
USER_AGENT_LENGTH = 255


def client_address() -> str:
    """Return the client's address as the trusted proxies report it; it may be empty or not a valid address."""
    return _printable(request.remote_addr or "", ADDRESS_LENGTH)


def client_user_agent() -> str:
    """Return the User-Agent header, without characters that are not printable and cut to USER_AGENT_LENGTH."""
    return _printable(request.headers.get("User-Agent", ""), USER_AGENT_LENGTH)


def _printable(text: str, length: int) -> str:
    return "".join(c for c in text if c.isprintable())[:length]
