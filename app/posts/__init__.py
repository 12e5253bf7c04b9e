"""The feature of posts: texts that users write, as drafts or published."""

from __future__ import annotations

from flask import Flask

from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Register the routes, and add posts to the export of a user."""
    from app.api.routing import API_PATH
    from app.posts import service
    from app.posts.views import posts
    from app.users.events import exporters

    app.register_blueprint(posts, url_prefix=settings.service_prefix + API_PATH)
    exporters["posts"] = service.export
