"""Health checks, metrics, logs and traces."""

from __future__ import annotations

from flask import Flask

from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Configure the log, instrument requests and statements, and register the routes.

    /health, /health/ready and /metrics are served both at the root and below SERVICE_PREFIX, because a load balancer's
    health check does not know the prefix.
    """
    from app.observability import health, instrumentation, logs
    from app.observability.views import health as routes

    instrumentation.init_app(app, settings)
    logs.configure(settings)
    health.init_app(app, settings)
    app.register_blueprint(routes)
    if settings.service_prefix:
        app.register_blueprint(routes, name="prefixed_health", url_prefix=settings.service_prefix)
