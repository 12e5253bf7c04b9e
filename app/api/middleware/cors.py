"""CORS: lets pages of the origins in CORS_ORIGINS call the API (the Fetch standard).

Every response has `Vary: Origin`, which app/api/middleware/__init__.py adds.
"""

from __future__ import annotations

import re

from flask import Flask, Response, request
from flask_cors.core import get_cors_options, set_cors_headers

from app.api.middleware.headers import EXPOSED_HEADERS
from app.settings import Settings

PREFLIGHT_SECONDS = 600


def init_app(app: Flask, settings: Settings) -> None:
    """Add the CORS headers to every response, preflights included, to a page of another origin."""
    rules = {
        "origins": [_exact_pattern(origin) for origin in settings.cors_origins],
        "methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        "allow_headers": [
            "Authorization",
            "Content-Type",
            "If-Match",
            "If-None-Match",
            "Idempotency-Key",
            "X-CSRF-TOKEN",
            "X-Request-ID",
        ],
        "expose_headers": list(EXPOSED_HEADERS),
        "max_age": PREFLIGHT_SECONDS,
        "vary_header": False,
        "always_send": False,
    }
    options = get_cors_options(app, rules)

    @app.after_request
    def add_cors_headers(response: Response) -> Response:
        # Flask-CORS itself does more work per request before it checks this.
        if "HTTP_ORIGIN" not in request.environ:
            return response
        set_cors_headers(response, options)
        # Flask-CORS would allow credentials for any origin that `*` matches, and so any site to use a visitor's cookie.
        allowed = response.headers.get("Access-Control-Allow-Origin")
        if allowed is not None and allowed != "*" and allowed in settings.cors_origins:
            response.headers["Access-Control-Allow-Credentials"] = "true"
        return response


def _exact_pattern(origin: str) -> re.Pattern[str]:
    """Return a pattern that matches this origin only.

    Flask-CORS compares strings without regard to case, and takes http://[::1] for a regular expression.
    """
    return re.compile(r"(?!null\Z)" if origin == "*" else re.escape(origin) + r"\Z")
