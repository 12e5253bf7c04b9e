"""Middleware: the steps before each endpoint, and the headers, metrics and log entry of each response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response, g, request
from werkzeug.exceptions import NotFound as WerkzeugNotFound

from app.api.client_info import address_key, client_address
from app.api.errors import NotAcceptable
from app.api.middleware.accept import excludes_json
from app.api.middleware.exchange import Exchange
from app.api.middleware.headers import request_id_of, security_headers
from app.api.middleware.queue_time import require_short_queue_time
from app.api.responses import empty
from app.components import components_of
from app.observability.instrumentation import RespondedRequest
from app.security.rate_limits import LimitName, Window
from app.settings import Settings

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

# These paths have no rate limit and no queue time limit: a probe that is refused would report the service as down.
PROBE_PATHS = frozenset({"/health", "/health/ready", "/metrics"})
Headers = list[tuple[str, str]]
Step = Callable[[], None]


class RequestMiddleware:
    """WSGI middleware around Flask: adds the headers of every response, and measures and logs it.

    At this level a header costs a fifth of what it costs in Flask and Werkzeug. The values come from `flask.g`, where
    the steps before the endpoint store them: `request_id` and, if the request was counted, the rate limit's `window`.
    """

    def __init__(self, wsgi_app: WSGIApplication) -> None:
        self._wsgi_app = wsgi_app

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Process one request (PEP 3333)."""
        exchange = Exchange()

        def start(status: str, headers: Headers, exc_info: Any = None) -> Callable[[bytes], object]:
            # Flask's contexts are still active here.
            context: Any = g._get_current_object()
            request: Request = environ["werkzeug.request"]
            add_headers(headers, context.request_id, request.scheme, context.get("window"))
            exchange.response = RespondedRequest(
                request=request,
                status=int(status[:3]),
                request_id=context.request_id,
                problem=context.get("problem"),
                caller=context.get("caller"),
                ip=client_address(),
            )
            return start_response(status, headers, exc_info)

        try:
            exchange.chunks = self._wsgi_app(environ, start)
        except BaseException:
            exchange.close()
            raise
        return exchange


def add_headers(headers: Headers, request_id: str, scheme: str, window: Window | None) -> None:
    """Add the headers of every response, except those that the response has already with a value of its own."""
    names = {name.lower() for name, _ in headers}
    headers.append(("X-Request-ID", request_id))
    if "cache-control" not in names:
        headers.append(("Cache-Control", "no-store"))
    headers += [(name, value) for name, value in security_headers(scheme).items() if name.lower() not in names]
    # A response that was refused by another limit has the headers of that limit.
    if window is not None and "x-ratelimit-limit" not in names:
        headers.append(("X-RateLimit-Limit", str(window.limit)))
        headers.append(("X-RateLimit-Remaining", str(window.remaining)))
        headers.append(("X-RateLimit-Reset", str(window.reset_seconds)))
    # Without an Origin in the request too: otherwise a cache could give that response, which has no CORS headers, to a
    # page of another origin.
    if "vary" not in names:
        headers.append(("Vary", "Origin"))
        return
    at = next(index for index, (name, _) in enumerate(headers) if name.lower() == "vary")
    headers[at] = ("Vary", f"{headers[at][1]}, Origin")


def init_app(app: Flask, settings: Settings, *, steps: Sequence[Step]) -> None:
    """Run the steps before each endpoint, in the order below, and wrap the WSGI application.

    `steps` are those of features: functions without arguments that raise a Problem to refuse the request.
    """
    limits = components_of(app).rate_limits
    prefix = settings.service_prefix
    # Only a trusted proxy sets X-Request-Start; clients could write anything into it.
    max_queue_ms = settings.max_queue_ms if settings.trusted_proxies else 0

    @app.before_request
    def run_steps() -> Response | None:
        g.service_prefix = prefix
        g.request_id = request_id_of(request.environ.get("HTTP_X_REQUEST_ID"))
        refuse_double_slash()
        if request.environ["REQUEST_METHOD"] == "OPTIONS":
            # A preflight succeeds on every path and in every state, so that the browser shows the page the response
            # to the request itself, such as a 404 or a 503, and not a CORS error.
            return empty() if "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in request.environ else None
        if is_limited(request.environ.get("PATH_INFO", "").removeprefix(prefix)):
            if max_queue_ms:
                require_short_queue_time(max_queue_ms)
            g.window = limits.hit(LimitName.DEFAULT, address_key(request.remote_addr or ""))
            if must_accept_json(request.path) and excludes_json(request.environ.get("HTTP_ACCEPT", "")):
                raise NotAcceptable
        for step in steps:
            step()
        return None

    app.wsgi_app = RequestMiddleware(app.wsgi_app)  # type: ignore[method-assign]


def refuse_double_slash() -> None:
    """Make a path that begins with two slashes one that has no route: Werkzeug merges them, unlike all others.

    A proxy may apply rules, such as that /metrics is internal, to the path that the client sent.
    """
    if request.environ.get("PATH_INFO", "").startswith("//"):
        request.url_rule = None
        request.routing_exception = WerkzeugNotFound()


def is_limited(path: str) -> bool:
    """Return whether the rate limit and the queue time limit apply to a path, given without SERVICE_PREFIX."""
    return path not in PROBE_PATHS


def must_accept_json(path: str) -> bool:
    """Return whether a request to this path must accept JSON: outside of the API some responses are HTML."""
    return "/api/" in path
