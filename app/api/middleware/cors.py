"""CORS: lets pages of the origins in CORS_ORIGINS call the API (the Fetch standard).

Every response has `Vary: Origin`, which app/api/middleware/__init__.py adds.
"""

from __future__ import annotations

import logging
import re
import threading

from flask import Flask, Response, request
from flask_cors.core import get_cors_options, set_cors_headers

from app.api.middleware.headers import EXPOSED_HEADERS
from app.settings import Settings

log = logging.getLogger("gatepost.cors")
PREFLIGHT_SECONDS = 600
ALLOWED_HEADERS = (
    "Authorization",
    "Content-Type",
    "If-Match",
    "If-None-Match",
    "Idempotency-Key",
    "X-CSRF-TOKEN",
    "X-Request-ID",
    # Tracing libraries add these to every request of a page: W3C Trace Context, W3C Baggage, Sentry.
    "traceparent",
    "tracestate",
    "baggage",
    "sentry-trace",
)
_LOCAL = re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?\Z")
# Clients can send any number of different origins, so memory and log are limited to this many, of this length.
MAX_REPORTED = 100
REPORTED_LENGTH = 200


def init_app(app: Flask, settings: Settings) -> None:
    """Add the CORS headers to every response, preflights included, to a page of another origin."""
    # With credentials: any site could use a visitor's cookie if they were allowed for the origins that `*` matches.
    trusted = [re.compile(re.escape(origin) + r"\Z") for origin in settings.cors_origins if origin != "*"]
    trusted += [_LOCAL] if settings.allows_local_origins else []
    any_but_null = [re.compile(r"(?!null\Z)")] if "*" in settings.cors_origins else []
    rules = {
        # Patterns, because Flask-CORS compares strings without regard to case, and takes http://[::1] for a pattern.
        "origins": [*trusted, *any_but_null],
        "methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        "allow_headers": [*ALLOWED_HEADERS, *settings.cors_allow_headers],
        "expose_headers": list(EXPOSED_HEADERS),
        "max_age": PREFLIGHT_SECONDS,
        "vary_header": False,
        "always_send": False,
    }
    options = get_cors_options(app, rules)
    report = OriginReport()

    @app.after_request
    def add_cors_headers(response: Response) -> Response:
        # Flask-CORS itself does more work per request before it checks this.
        origin = request.environ.get("HTTP_ORIGIN")
        if origin is None:
            return response
        set_cors_headers(response, options)
        allowed = response.headers.get("Access-Control-Allow-Origin")
        if allowed is None:
            report.add(origin)
        elif allowed != "*" and any(pattern.match(allowed) for pattern in trusted):
            response.headers["Access-Control-Allow-Credentials"] = "true"
        return response


class OriginReport:
    """Logs each origin that is not allowed once, because browsers do not tell a page why its requests fail."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reported: set[str] = set()

    def add(self, origin: str) -> None:
        """Log an origin, unless it is that of the service itself or was logged before."""
        # Browsers send the origin with some requests to the page's own origin too.
        if not origin or origin == f"{request.scheme}://{request.host}":
            return
        name = origin[:REPORTED_LENGTH]
        with self._lock:
            if name in self._reported or len(self._reported) >= MAX_REPORTED:
                return
            self._reported.add(name)
        log.warning("origin is not in CORS_ORIGINS", extra={"origin": name})
