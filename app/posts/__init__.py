"""Posts: what users write, who may read a draft and who may change what."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask

    from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Serve the posts routes, and add posts to what users can export."""
    from app.api.routing import API_PATH
    from app.posts import service
    from app.posts.views import posts
    from app.users.events import exporters

    app.register_blueprint(posts, url_prefix=settings.service_prefix + API_PATH)
    exporters["posts"] = service.export
