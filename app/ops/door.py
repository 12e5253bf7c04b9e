"""What every request passes on its way in and out: its id, the limit, the headers of every answer.

Must not know any feature.
"""

from __future__ import annotations

from flask import Flask, Response, g, request
from werkzeug.datastructures import MIMEAccept

from app.errors import NotAcceptable
from app.headers import request_id_of, security_headers
from app.http import empty
from app.ratelimit import LimitName, RateLimits, address_key
from app.settings import Settings

# Probes must get their answer however busy the address they come from is.
UNLIMITED_PATHS = frozenset({"/health", "/health/ready", "/metrics"})


def init_app(app: Flask, settings: Settings) -> None:
    """Hang the door before and after every request, errors included."""
    limits: RateLimits = app.extensions["gatepost.limits"]
    prefix = settings.service_prefix

    @app.before_request
    def enter() -> Response | None:
        g.service_prefix = prefix
        g.request_id = request_id_of(request.environ.get("HTTP_X_REQUEST_ID"))
        if request.method == "OPTIONS" and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.environ:
            # A browser must see the request itself fail, a 404 say, not what it asks beforehand.
            return empty()
        if request.method == "OPTIONS" or not is_limited(request.path.removeprefix(prefix)):
            return None
        g.window = limits.hit(LimitName.DEFAULT, address_key(request.remote_addr or ""))
        _require_json_accepted()
        return None

    @app.after_request
    def leave(response: Response) -> Response:
        headers = response.headers
        headers["X-Request-ID"] = g.request_id
        headers.setdefault("Cache-Control", "no-store")
        # A page that needs more than nothing brings a policy of its own.
        for name, value in security_headers(request.scheme).items():
            headers.setdefault(name, value)
        window = g.get("window")
        # A refusal by another limit tells of that one.
        if window is not None and "X-RateLimit-Limit" not in headers:
            headers["X-RateLimit-Limit"] = str(window.limit)
            headers["X-RateLimit-Remaining"] = str(window.remaining)
            headers["X-RateLimit-Reset"] = str(window.reset_seconds)
        return response


def _require_json_accepted() -> None:
    """Raise NotAcceptable when Accept rules out JSON (RFC 9110 section 12.5.1)."""
    accept = request.environ.get("HTTP_ACCEPT")
    if not accept or accept == "*/*" or accept == "application/json" or not must_accept_json(request.path):
        return
    # Without parameters, or 'application/json; charset=utf-8' would rule JSON out; and only what is a media range.
    ranges = [(value.partition(";")[0], quality) for value, quality in request.accept_mimetypes if "/" in value]
    accepted = MIMEAccept(ranges)
    if len(accepted) and not accepted.quality("application/json") and not accepted.quality("application/problem+json"):
        raise NotAcceptable


def is_limited(path: str) -> bool:
    """Whether calls of this path, given without the prefix, are counted."""
    return path not in UNLIMITED_PATHS


def must_accept_json(path: str) -> bool:
    """Whether a client that takes no JSON is refused: outside of the API some answers are for browsers."""
    return "/api/" in path
