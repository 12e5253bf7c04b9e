"""The headers that the application and the server below it must write alike. Must not import Flask."""

from __future__ import annotations

import os
import re

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

# What a script on an allowed origin may read beside the headers that CORS always shows.
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


# Browsers hold even an answer that is opened as a page, or in a frame, to these.
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    # The directives that default-src does not cover are named.
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
# Without includeSubDomains: what else the domain serves is not ours to decide.
STRICT_TRANSPORT = {"Strict-Transport-Security": "max-age=31536000"}


def security_headers(scheme: str) -> dict[str, str]:
    """Return what every answer tells browsers; only over TLS may it ask for TLS (RFC 6797 section 7.2)."""
    return SECURITY_HEADERS | STRICT_TRANSPORT if scheme == "https" else SECURITY_HEADERS


def forwarded_scheme(forwarded: str | None, trusted_proxies: int) -> str:
    """Return the scheme that the outermost trusted proxy was asked by, given X-Forwarded-Proto; else http."""
    hops = (forwarded or "").split(",")
    return hops[-trusted_proxies].strip() if 0 < trusted_proxies <= len(hops) else "http"


def cors_headers(origin: str | None, allowed: tuple[str, ...]) -> dict[str, str]:
    """Return the headers that let a page of an allowed origin read an answer.

    Only an origin that is named may see what was asked with its user's cookies: `*`, of development, does not name it.
    """
    if origin is None or origin == "null" or (origin not in allowed and "*" not in allowed):
        return {"Vary": "Origin"}
    credentials = {"Access-Control-Allow-Credentials": "true"} if origin in allowed and origin != "*" else {}
    return {
        "Vary": "Origin",
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": ", ".join(EXPOSED_HEADERS),
        **credentials,
    }


def request_id_of(sent: str | None) -> str:
    """Return the caller's id for a request if it is fit for headers and logs, else a new one."""
    return sent if sent is not None and _REQUEST_ID.fullmatch(sent) else os.urandom(16).hex()
