"""Maintenance mode: while it is on, every route except a few answers 503 on every worker within a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Serve the service context and add the `maintenance` commands."""
    from app.api.routing import API_PATH
    from app.maintenance import commands, service
    from app.maintenance.views import service_context

    service.init_app(app)
    app.register_blueprint(service_context, url_prefix=settings.service_prefix + API_PATH)
    app.cli.add_command(commands.maintenance)
