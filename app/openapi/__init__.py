"""The OpenAPI 3.1 document, made from what the endpoints declare. Must not know any feature, nor any path.

What a route takes or answers is said where it is declared; a rule that holds for many routes is said here.
"""

from __future__ import annotations

import orjson
from flask import Flask

from app.api.conditional import etag_of
from app.components import components_of
from app.openapi.document import make_document
from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Serve the document, the pages that explain problems and, unless it is switched off, the documentation page."""
    from app.openapi.commands import openapi
    from app.openapi.docs import docs
    from app.openapi.problem_pages import problems
    from app.openapi.views import documents

    app.cli.add_command(openapi)
    app.register_blueprint(documents, url_prefix=settings.service_prefix)
    app.register_blueprint(problems, url_prefix=settings.service_prefix)
    if settings.docs_enabled:
        app.register_blueprint(docs, url_prefix=settings.service_prefix)


def find_document(app: Flask) -> tuple[bytes, str]:
    """Return the document of this application as JSON, with its entity tag; it is made at the first call."""
    shared = components_of(app)
    if shared.openapi_document is None:
        # Two threads may both make it: they make the same.
        content = orjson.dumps(make_document(app))
        shared.openapi_document = (content, etag_of(content))
    return shared.openapi_document
