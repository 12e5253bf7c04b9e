"""Maintenance mode. While it is on, every worker answers 503 on all routes but a few, within a second."""

from __future__ import annotations

from flask import Flask

from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Create the cache of the maintenance state, and register the route and the `maintenance` commands."""
    from app.api.routing import API_PATH
    from app.maintenance import commands, service
    from app.maintenance.views import service_context

    service.init_app(app)
    app.register_blueprint(service_context, url_prefix=settings.service_prefix + API_PATH)
    app.cli.add_command(commands.maintenance)
