"""The page at /docs, where a person reads the OpenAPI document and tries what it describes, without a network.

Swagger UI comes from a package; page.html, page.js and page.css around it are ours. Must not know any feature but by
the document, save where to sign in.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from flask import Response

from app.api.access import ANYONE
from app.api.conditional import etag_of, is_unchanged
from app.api.responses import REVALIDATE, Answer, written
from app.api.routing import Api

docs = Api("docs", __name__)
SWAGGER_UI = files("flask_swagger_ui") / "dist"
OURS = files(__name__)
# Nothing but what this origin serves. Swagger UI's style sheet holds its icons as data.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HTML, SCRIPT, STYLE = "text/html", "text/javascript", "text/css"


def _file(media_type: str, describes: str) -> Answer:
    return written(media_type=media_type, cache=REVALIDATE, is_tagged=True, describes=describes)


@docs.operation("GET", "/docs", access=ANYONE, answer=_file(HTML, "A page for a person."))
def get_docs() -> Response:
    """Show this document to a person, who can sign in there and try it."""
    return _send("page.html", HTML)


@docs.operation("GET", "/docs/page.js", access=ANYONE, answer=_file(SCRIPT, "The page's own script."))
def get_docs_script() -> Response:
    """Give the script of the page at /docs."""
    return _send("page.js", SCRIPT)


@docs.operation("GET", "/docs/page.css", access=ANYONE, answer=_file(STYLE, "The page's own style."))
def get_docs_style() -> Response:
    """Give the style sheet of the page at /docs."""
    return _send("page.css", STYLE)


@docs.operation("GET", "/docs/swagger-ui-bundle.js", access=ANYONE, answer=_file(SCRIPT, "Swagger UI."))
def get_swagger_ui_script() -> Response:
    """Give the script of Swagger UI, which the page at /docs uses."""
    return _send("swagger-ui-bundle.js", SCRIPT)


@docs.operation("GET", "/docs/swagger-ui.css", access=ANYONE, answer=_file(STYLE, "Swagger UI's style."))
def get_swagger_ui_style() -> Response:
    """Give the style sheet of Swagger UI, which the page at /docs uses."""
    return _send("swagger-ui.css", STYLE)


@cache
def _read(name: str) -> tuple[bytes, str]:
    folder = OURS if name.startswith("page.") else SWAGGER_UI
    content = (folder / name).read_bytes()
    return content, etag_of(content)


def _send(name: str, media_type: str) -> Response:
    content, etag = _read(name)
    headers = {"ETag": etag, "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
    if is_unchanged(etag):
        return Response(status=304, headers=headers)
    return Response(content, headers=headers, mimetype=media_type)
