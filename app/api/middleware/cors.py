"""Which pages of other origins may ask, and read the answers: those of CORS_ORIGINS (the Fetch standard).

`Vary: Origin` is on every response and is added by the middleware.
"""

from __future__ import annotations

import re

from flask import Flask, Response, request
from flask_cors.core import get_cors_options, set_cors_headers

from app.api.middleware.headers import EXPOSED_HEADERS
from app.settings import Settings

PREFLIGHT_SECONDS = 600


def init_app(app: Flask, settings: Settings) -> None:
    """Answer preflights, and put the headers on every answer to a page of another origin."""
    rules = {
        "origins": [_exactly(origin) for origin in settings.cors_origins],
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
    def allow(response: Response) -> Response:
        # The extension itself would do a good deal for each request before it sees that nobody asks.
        if "HTTP_ORIGIN" not in request.environ:
            return response
        set_cors_headers(response, options)
        # Not by the extension, which would let the origins that a `*` admits use a visitor's cookie too.
        allowed = response.headers.get("Access-Control-Allow-Origin")
        if allowed is not None and allowed != "*" and allowed in settings.cors_origins:
            response.headers["Access-Control-Allow-Credentials"] = "true"
        return response


def _exactly(origin: str) -> re.Pattern[str]:
    """A pattern of this origin alone. As text it would match in any case, and http://[::1] would be a pattern."""
    return re.compile(r"(?!null\Z)" if origin == "*" else re.escape(origin) + r"\Z")
