"""Authentication: registration, login, sessions, tokens and passwords."""

from __future__ import annotations

from flask import Flask

from app.auth import commands, extension, sessions, tokens
from app.auth.examples import EXAMPLES
from app.auth.models import Session
from app.auth.user_views import user_sessions
from app.auth.views import auth
from app.components import components_of
from app.features import Feature
from app.security.key_views import key_set
from app.settings import Settings
from app.users.events import user_disabled


def init_app(app: Flask, settings: Settings) -> None:
    """Make the access policies authenticate callers by their sessions, and publish the keys that verify tokens."""
    tokens.init_app(app, settings)
    extension.init_app(app)
    components_of(app).authenticate = sessions.authenticate
    user_disabled.connect(sessions.end_sessions_of_disabled)
    app.register_blueprint(key_set, url_prefix=settings.service_prefix)


feature = Feature(
    name="auth",
    api=(auth, user_sessions),
    tables=(Session,),
    exports={"sessions": sessions.export},
    commands=(commands.sessions, commands.keys),
    init_app=init_app,
    examples=EXAMPLES,
)
