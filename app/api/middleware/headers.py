"""The security headers, the headers that scripts may read, and the request id. Must not import Flask.

The middleware adds them to the application's responses, and gunicorn_worker.py to those of gunicorn itself.
"""

from __future__ import annotations

import os
import re

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

# The response headers that a script of an allowed origin may read, beyond those that CORS always exposes.
EXPOSED_HEADERS = (
    "ETag",
    "Link",
    "Location",
    "Retry-After",
    "X-Request-ID",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "Idempotency-Replayed",
)

# Browsers apply these also to a response that is opened as a page or in a frame.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # The other directives are named because default-src does not cover them.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
# Without includeSubDomains, because other services may run on subdomains.
STRICT_TRANSPORT = {"Strict-Transport-Security": "max-age=31536000"}


def security_headers(scheme: str) -> dict[str, str]:
    """Return the security headers of every response; Strict-Transport-Security over TLS only (RFC 6797 section 7.2)."""
    return SECURITY_HEADERS | STRICT_TRANSPORT if scheme == "https" else SECURITY_HEADERS


def request_id_of(sent: str | None) -> str:
    """Return the X-Request-ID that the client sent, if its form is valid, otherwise a new id."""
    return sent if sent is not None and _REQUEST_ID.fullmatch(sent) else os.urandom(16).hex()
