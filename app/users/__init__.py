"""The feature of users: accounts, profiles and roles."""

from __future__ import annotations

from flask import Flask

from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Register the routes and the `users` commands, and the exports of the shared packages' data."""
    from app.api.idempotency import service as idempotency
    from app.api.routing import API_PATH
    from app.audit import service as audit
    from app.users import commands
    from app.users.events import exporters
    from app.users.views import users

    app.register_blueprint(users, url_prefix=settings.service_prefix + API_PATH)
    app.cli.add_command(commands.users)
    exporters["idempotency_keys"] = idempotency.export
    exporters["auth_events"] = audit.export
