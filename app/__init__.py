"""Gatepost: a JWT-secured SQL API with schema validation. This module is the composition root."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import CO_COROUTINE
from typing import Any

from flask import Flask, Response
from werkzeug.middleware.proxy_fix import ProxyFix

from app import audit, auth, cli, database, maintenance, observability, openapi, posts, users
from app.api import middleware
from app.api.endpoint import Endpoint
from app.api.errors import Problem, handlers, list_problems
from app.api.middleware import cors
from app.api.routing import API_PATH, IdConverter
from app.auth.extension import pass_bearer_token
from app.components import EXTENSION, Components, components_of
from app.database import migrations
from app.features import FEATURE_TABLES, Feature, find_conflicts
from app.maintenance.service import refuse_during_maintenance
from app.observability import tracing
from app.security import passwords
from app.security.keyed_hashes import KeyedHasher
from app.security.rate_limits import RateLimits
from app.settings import ConfigurationError, Settings, load_settings
from app.settings.features import find_feature

BUILT_IN = (users.feature, auth.feature, posts.feature, audit.feature, maintenance.feature)


class Gatepost(Flask):
    """Flask, with an OPTIONS response without a body."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function to call for a view or hook. Flask's own check costs more, on every request."""
        code = getattr(func, "__code__", None)
        is_sync = isinstance(func, Endpoint) or (code is not None and not code.co_flags & CO_COROUTINE)
        return func if is_sync else super().ensure_sync(func)

    def make_default_options_response(self) -> Response:
        """Answer OPTIONS with 204 and the exact Allow of the resource."""
        response: Response = super().make_default_options_response()
        response.status_code = 204
        response.headers["Allow"] = ", ".join(sorted(response.allow))
        del response.headers["Content-Type"]
        return response


def create_app(settings: Settings | None = None, services: Mapping[type, Any] | None = None) -> Flask:
    """Return the WSGI application for these settings, by default those of the environment.

    `services` replaces what features use of the world outside, such as an HTTP client, by type. Opens no connection, so
    that a server may fork workers from the process that called it. Raises ConfigurationError.
    """
    settings = settings or load_settings()
    app = Gatepost(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    hasher = KeyedHasher(settings)
    features = (*BUILT_IN, *map(find_feature, settings.features))
    if conflicts := [*find_conflicts(features)]:
        raise ConfigurationError({"FEATURES": conflicts})
    app.extensions[EXTENSION] = Components(
        settings, hasher, RateLimits(settings, hasher), features, tables_of(features), dict(services or {})
    )
    app.url_map.converters["id"] = IdConverter
    app.url_map.merge_slashes = False
    database.init_app(app, settings)
    migrations.init_app(app)
    # Before every other hook, so that a request refused by a later one has a span too.
    tracing.init_app(app)
    handlers.init_app(app)
    observability.init_app(app, settings)
    middleware.init_app(app, settings, steps=(refuse_during_maintenance, pass_bearer_token))
    for feature in features:
        add_feature(app, feature)
    openapi.init_app(app, settings)
    cli.init_app(app)
    cors.init_app(app, settings)
    components_of(app).problems = known_problems(app)
    if conflicts := [*find_duplicate_routes(app)]:
        raise ConfigurationError({"FEATURES": conflicts})
    if settings.trusted_proxies:
        hops = settings.trusted_proxies
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
    passwords.init_app(settings)
    return app


def find_duplicate_routes(app: Flask) -> Iterator[str]:
    """Yield a sentence for each route that two features have, of which only the first would get requests."""
    owners: dict[tuple[str, str], str] = {}
    for rule in app.url_map.iter_rules():
        pattern = re.sub("<(?:([^:>]+):)?[^>]+>", r"<\1>", rule.rule)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            other = owners.setdefault((method, pattern), rule.endpoint)
            if other != rule.endpoint:
                yield f"{other} and {rule.endpoint} have the same route: {method} {rule.rule}."


def tables_of(features: Iterable[Feature]) -> frozenset[str]:
    """Return the tables of the core and of these features; others may be imported without being switched on."""
    own = {table.__tablename__ for feature in features for table in feature.tables}
    return frozenset(database.Base.metadata.tables.keys() - FEATURE_TABLES | own)


def known_problems(app: Flask) -> dict[str, type[Problem]]:
    """Return the problems of the core and of the features that are switched on, by code."""
    shared = components_of(app)
    known = {problem for feature in shared.features for problem in feature.problems}
    known |= {problem for endpoint in shared.endpoints.values() for problem in endpoint.problems}
    return {p.code: p for p in list_problems() if p in known or p.__module__.startswith("app.")}


def add_feature(app: Flask, feature: Feature) -> None:
    """Register the routes, commands, exports and problems of a feature."""
    shared = components_of(app)
    if feature.init_app is not None:
        feature.init_app(app, shared.settings)
    for blueprint in feature.api:
        prefix = shared.settings.service_prefix + API_PATH + (blueprint.url_prefix or "")
        app.register_blueprint(blueprint, url_prefix=prefix)
    for command in feature.commands:
        app.cli.add_command(command)
    shared.exporters |= feature.exports
