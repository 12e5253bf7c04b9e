"""Which pages of other origins may ask, and read the answers: those of CORS_ORIGINS (the Fetch standard).

Owns the CORS headers of the application; the server below it writes the same by app/headers.py.
"""

from __future__ import annotations

import re

from flask import Flask, Response
from flask_cors import CORS

from app.headers import EXPOSED_HEADERS
from app.settings import Settings

PREFLIGHT_SECONDS = 600


def init_app(app: Flask, settings: Settings) -> None:
    """Answer preflights, and put the headers on every answer."""

    @app.after_request
    def vary(response: Response) -> Response:
        # Also where no Origin came, or a cache would give that answer to a page that needs the headers of CORS.
        response.vary.add("Origin")
        return response

    @app.after_request
    def allow_credentials(response: Response) -> Response:
        # Not by the extension, which would let the origins that a `*` admits use a visitor's cookie too.
        allowed = response.headers.get("Access-Control-Allow-Origin")
        if allowed is not None and allowed != "*" and allowed in settings.cors_origins:
            response.headers["Access-Control-Allow-Credentials"] = "true"
        return response

    CORS(
        app,
        origins=[_exactly(origin) for origin in settings.cors_origins],
        methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=[
            "Authorization",
            "Content-Type",
            "If-Match",
            "If-None-Match",
            "Idempotency-Key",
            "X-CSRF-TOKEN",
            "X-Request-ID",
        ],
        expose_headers=list(EXPOSED_HEADERS),
        max_age=PREFLIGHT_SECONDS,
        vary_header=False,
        # Without this a request with no Origin would be told of one.
        always_send=False,
    )


def _exactly(origin: str) -> re.Pattern[str]:
    """A pattern of this origin alone. As text it would match in any case, and http://[::1] would be a pattern."""
    return re.compile(r"(?!null\Z)" if origin == "*" else re.escape(origin) + r"\Z")
