"""The feature of the audit log: logins, failed logins and changes of accounts, in a table that is only appended to."""

from __future__ import annotations

from flask import Flask

from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Register the routes and the `audit` commands."""
    from app.api.routing import API_PATH
    from app.audit import commands
    from app.audit.views import audit

    app.register_blueprint(audit, url_prefix=settings.service_prefix + API_PATH)
    app.cli.add_command(commands.audit)
