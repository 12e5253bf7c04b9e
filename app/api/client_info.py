"""Where a request comes from, in a form that can be stored and shown. Must not know any feature."""

from __future__ import annotations

from flask import request

ADDRESS_LENGTH = 45
USER_AGENT_LENGTH = 255


def client_address() -> str:
    """Return the address of the client as far as the trusted proxies say, which may pass on what is none."""
    return _printable(request.remote_addr or "", ADDRESS_LENGTH)


def client_user_agent() -> str:
    """Return what the client calls itself."""
    return _printable(request.headers.get("User-Agent", ""), USER_AGENT_LENGTH)


def _printable(text: str, length: int) -> str:
    return "".join(c for c in text if c.isprintable())[:length]
