"""The OpenAPI 3.1 document, generated from the declarations of the endpoints, and the pages that present it.

A property of one route is declared at its view. Rules for many routes are in this package, which imports no feature.
"""

from __future__ import annotations

import orjson
from flask import Flask

from app.api.conditional import etag_of
from app.components import components_of
from app.openapi.document import make_document
from app.settings import Settings


def init_app(app: Flask, settings: Settings) -> None:
    """Register the document, the pages that explain problems and, unless DOCS_ENABLED is false, the page at /docs."""
    from app.openapi.commands import openapi
    from app.openapi.problem_pages import problems
    from app.openapi.views import docs, documents

    app.cli.add_command(openapi)
    app.register_blueprint(documents, url_prefix=settings.service_prefix)
    if settings.service_prefix:
        # Also without the slash, where Werkzeug would redirect.
        name = "documents.get_service"
        app.add_url_rule(settings.service_prefix, name, app.view_functions[name], methods=["GET"])
    app.register_blueprint(problems, url_prefix=settings.service_prefix)
    if settings.docs_enabled:
        app.register_blueprint(docs, url_prefix=settings.service_prefix)


def find_document(app: Flask) -> tuple[bytes, str]:
    """Return the document as JSON and its entity tag. The first call generates it."""
    shared = components_of(app)
    if shared.openapi_document is None:
        # No lock: if two threads generate the document at the same time, the results are equal.
        content = orjson.dumps(make_document(app))
        shared.openapi_document = (content, etag_of(content))
    return shared.openapi_document
