"""What every request passes on its way in and out: its id, the limit, the headers of every answer, its line in the log.

Must not know any feature.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, g, request
from werkzeug.datastructures import MIMEAccept

from app.api.errors import NotAcceptable
from app.api.middleware.headers import request_id_of, security_headers
from app.api.responses import empty
from app.components import components_of
from app.observability import instrumentation as measures
from app.observability import logs
from app.security.rate_limits import LimitName, Window
from app.security.rate_limits.addresses import address_key
from app.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# Probes must get their answer however busy the address they come from is.
UNLIMITED_PATHS = frozenset({"/health", "/health/ready", "/metrics"})
Headers = list[tuple[str, str]]
Step = Callable[[], None]


class RequestMiddleware:
    """The way into Flask and out of it, as WSGI has it: each header costs Flask and Werkzeug five times as much.

    Inside of it `g` has the request's id, the prefix of the service and, once counted, the window of the limit.
    """

    def __init__(self, inside: WSGIApplication) -> None:
        self._inside = inside

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Let a request in, and see to it that its answer has what every answer has."""
        started = time.perf_counter()

        def start(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            # Flask's context is there until its answer is on the way.
            self._leave(environ["werkzeug.request"], int(status[:3]), headers, started)
            return start_response(status, headers, exc_info)

        with measures.in_flight():
            return self._inside(environ, start)

    def _leave(self, request: Request, status: int, headers: Headers, started: float) -> None:
        context: Any = g._get_current_object()
        add_headers(headers, context.request_id, request.scheme, context.get("window"))
        seconds = time.perf_counter() - started
        problem = context.get("problem")
        measures.count(request, status, seconds, problem)
        logs.write_request(request, status, seconds, problem, context.get("caller"))


def add_headers(headers: Headers, request_id: str, scheme: str, window: Window | None) -> None:
    """Add what is not there yet: an answer that needs another policy than every other brings it."""
    names = {name.lower() for name, _ in headers}
    headers.append(("X-Request-ID", request_id))
    if "cache-control" not in names:
        headers.append(("Cache-Control", "no-store"))
    headers += [(name, value) for name, value in security_headers(scheme).items() if name.lower() not in names]
    # A refusal by another limit tells of that one.
    if window is not None and "x-ratelimit-limit" not in names:
        headers.append(("X-RateLimit-Limit", str(window.limit)))
        headers.append(("X-RateLimit-Remaining", str(window.remaining)))
        headers.append(("X-RateLimit-Reset", str(window.reset_seconds)))
    # Also where no Origin came, or a cache would give that answer to a page that needs the headers of CORS.
    if "vary" not in names:
        headers.append(("Vary", "Origin"))
        return
    at = next(index for index, (name, _) in enumerate(headers) if name.lower() == "vary")
    headers[at] = ("Vary", f"{headers[at][1]}, Origin")


def init_app(app: Flask, settings: Settings, *, steps: Sequence[Step]) -> None:
    """Run what every request passes before its endpoint, in this order, and wrap the WSGI application.

    `steps` are those of features; each takes no arguments, and raises a Problem to refuse the request.
    """
    limits = components_of(app).rate_limits

    @app.before_request
    def prepare_request() -> Response | None:
        _set_context(settings.service_prefix)
        environ = request.environ
        if environ["REQUEST_METHOD"] == "OPTIONS":
            # A preflight succeeds on any path: the browser must see the request itself fail, with a 404 for example.
            return empty() if "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ else None
        if is_limited(request.path.removeprefix(settings.service_prefix)):
            g.window = limits.hit(LimitName.DEFAULT, address_key(request.remote_addr or ""))
            _require_json_accepted()
        for step in steps:
            step()
        return None

    app.wsgi_app = RequestMiddleware(app.wsgi_app)  # type: ignore[method-assign]


def _set_context(prefix: str) -> None:
    g.service_prefix = prefix
    g.request_id = request_id_of(request.environ.get("HTTP_X_REQUEST_ID"))


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
