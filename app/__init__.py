"""Gatepost: a JWT-secured SQL API with schema validation. This is the composition root."""

from __future__ import annotations

from collections.abc import Callable
from inspect import CO_COROUTINE
from typing import Any

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix

from app import audit, auth, cli, cors, db, error_handlers, migrating, ops, passwords, posts, tracing, users
from app.http import Endpoint, IdConverter
from app.ratelimit import RateLimits
from app.settings import Settings, load_settings
from app.signing import Signer

# A feature is a package with an `init_app(app, settings)`. This tuple is all there is to adding one.
FEATURES = (users, auth, posts, audit, ops)


class Gatepost(Flask):
    """The application: Flask with an OPTIONS answer that has no body to be mistaken for HTML."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that runs to its end: Flask asks for each hook and view in every request, at length."""
        code = getattr(func, "__code__", None)
        is_plain = isinstance(func, Endpoint) or (code is not None and not code.co_flags & CO_COROUTINE)
        return func if is_plain else super().ensure_sync(func)

    def make_default_options_response(self) -> Response:
        """Answer OPTIONS with the exact Allow of the resource."""
        response: Response = super().make_default_options_response()
        response.status_code = 204
        response.headers["Allow"] = ", ".join(sorted(response.allow))
        del response.headers["Content-Type"]
        return response


def create_app(settings: Settings | None = None) -> Flask:
    """Return the WSGI application for these settings, by default those of the environment.

    Opens no connection, so that workers may be forked from the process that made it. Raises ConfigurationError.
    """
    settings = settings or load_settings()
    app = Gatepost(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.extensions["gatepost.settings"] = settings
    app.extensions["gatepost.signer"] = Signer(settings)
    app.extensions["gatepost.limits"] = RateLimits(settings)
    app.url_map.converters["id"] = IdConverter
    app.url_map.merge_slashes = False
    db.init_app(app, settings)
    migrating.init_app(app)
    # First of all hooks, so that a request refused by a later one has its span too.
    tracing.init_app(app)
    error_handlers.init_app(app)
    for feature in FEATURES:
        feature.init_app(app, settings)
    cli.init_app(app)
    cors.init_app(app, settings)
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    if settings.is_production:
        passwords.warm_up()
    return app
