"""What an operator needs: health, request ids, limits at the door, logs, and pages that explain problems."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Serve the operational routes; probes don't know the prefix, so theirs answer with and without it."""
    from app.http import API_PATH
    from app.ops import commands, context, door, logs, measures, probes, problem_pages
    from app.ops.docs import docs
    from app.ops.openapi.commands import openapi
    from app.ops.views import documents, health

    measures.init_app(app, settings)
    logs.init_app(app, settings)
    door.init_app(app, settings)
    probes.init_app(app, settings)
    context.init_app(app)
    app.register_blueprint(context.service_context, url_prefix=settings.service_prefix + API_PATH)
    app.cli.add_command(commands.config)
    app.cli.add_command(openapi)
    app.register_blueprint(health)
    if settings.service_prefix:
        app.register_blueprint(health, name="prefixed_health", url_prefix=settings.service_prefix)
    app.register_blueprint(documents, url_prefix=settings.service_prefix)
    app.register_blueprint(problem_pages.problems, url_prefix=settings.service_prefix)
    if settings.docs_enabled:
        app.register_blueprint(docs, url_prefix=settings.service_prefix)
