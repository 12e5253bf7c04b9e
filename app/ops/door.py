"""What every request passes on its way in and out: its id, the limit, the headers of every answer.

Must not know any feature.
"""

from __future__ import annotations

import re
import uuid

from flask import Flask, Response, g, request

from app.errors import NotAcceptable
from app.ratelimit import LimitName, RateLimits, address_key
from app.settings import Settings

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# Probes must get their answer however busy the address they come from is.
UNLIMITED_PATHS = frozenset({"/health", "/health/ready", "/metrics"})
_JSON_TYPES = ("application/json", "application/problem+json", "application/*", "*/*")


def init_app(app: Flask, settings: Settings) -> None:
    """Hang the door before and after every request, errors included."""
    limits: RateLimits = app.extensions["gatepost.limits"]
    prefix = settings.service_prefix

    @app.before_request
    def enter() -> None:
        g.service_prefix = prefix
        g.request_id = _request_id()
        if request.method == "OPTIONS" or request.path.removeprefix(prefix) in UNLIMITED_PATHS:
            return
        g.window = limits.hit(LimitName.DEFAULT, address_key(request.remote_addr or ""))
        _require_json_accepted()

    @app.after_request
    def leave(response: Response) -> Response:
        headers = response.headers
        headers["X-Request-ID"] = g.request_id
        headers["X-Content-Type-Options"] = "nosniff"
        headers.setdefault("Cache-Control", "no-store")
        window = g.get("window")
        if window is not None:
            headers["X-RateLimit-Limit"] = str(window.limit)
            headers["X-RateLimit-Remaining"] = str(window.remaining)
            headers["X-RateLimit-Reset"] = str(window.reset_seconds)
        return response


def _request_id() -> str:
    """The caller's id for this request if it is fit for headers and logs, else a new one."""
    sent = request.environ.get("HTTP_X_REQUEST_ID")
    if sent is not None and _REQUEST_ID.fullmatch(sent):
        return str(sent)
    return uuid.uuid4().hex


def _require_json_accepted() -> None:
    """Raise NotAcceptable when Accept rules out JSON (RFC 9110 section 12.5.1)."""
    accept = request.environ.get("HTTP_ACCEPT")
    if not accept or accept == "*/*" or accept == "application/json" or _answers_with_html():
        return
    accepted = request.accept_mimetypes
    if len(accepted) and not accepted.quality("application/json") and not accepted.quality("application/problem+json"):
        raise NotAcceptable


def _answers_with_html() -> bool:
    return "/api/" not in request.path
