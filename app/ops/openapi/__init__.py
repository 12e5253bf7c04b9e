"""The OpenAPI 3.1 document, made from what the endpoints declare. Must not know any feature, nor any path.

What a route takes or answers is said where it is declared; a rule that holds for many routes is said here.
"""

from __future__ import annotations

import orjson
from flask import Flask

from app.etags import etag_of
from app.ops.openapi.document import make_document

DOCUMENT = "gatepost.openapi"


def find_document(app: Flask) -> tuple[bytes, str]:
    """Return the document of this application as JSON, with its entity tag; it is made at the first call."""
    found: tuple[bytes, str] | None = app.extensions.get(DOCUMENT)
    if found is None:
        # Two threads may both make it: they make the same.
        content = orjson.dumps(make_document(app))
        found = app.extensions[DOCUMENT] = (content, etag_of(content))
    return found
