"""Authentication: registration, login, sessions, tokens and passwords."""

from __future__ import annotations

from flask import Flask

from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Register the routes and commands, and make the access policies authenticate callers by their sessions."""
    from app.api.routing import API_PATH
    from app.auth import commands, cookies, extension, sessions, tokens
    from app.auth.user_views import user_sessions
    from app.auth.views import auth
    from app.components import components_of
    from app.security.key_views import key_set
    from app.users.events import exporters, user_disabled

    tokens.init_app(app, settings)
    extension.init_app(app)
    components_of(app).authenticate = sessions.authenticate
    app.register_blueprint(auth, url_prefix=cookies.cookie_path(settings))
    app.register_blueprint(user_sessions, url_prefix=settings.service_prefix + API_PATH)
    app.register_blueprint(key_set, url_prefix=settings.service_prefix)
    app.cli.add_command(commands.sessions)
    app.cli.add_command(commands.keys)
    user_disabled.connect(sessions.end_sessions_of_disabled)
    exporters["sessions"] = sessions.export
