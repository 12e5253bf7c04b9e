"""The page at /docs, which shows the OpenAPI document in Swagger UI. It loads nothing from other origins.

Swagger UI's files come from the package flask-swagger-ui. page.html, page.js and page.css add a sign-in form to it.
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
PAGE_FILES = files(__name__)
# Allows files of this origin only, and data: for images because Swagger UI's style sheet contains its icons.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HTML, SCRIPT, STYLE = "text/html", "text/javascript", "text/css"


def _file(media_type: str, describes: str) -> Answer:
    return written(media_type=media_type, cache=REVALIDATE, is_tagged=True, describes=describes)


@docs.operation("GET", "/docs", access=ANYONE, answer=_file(HTML, "The page."))
def get_docs() -> Response:
    """Get the page that shows this document, with a sign-in form and a way to try each operation."""
    return _send("page.html", HTML)


@docs.operation("GET", "/docs/page.js", access=ANYONE, answer=_file(SCRIPT, "The page's script."))
def get_docs_script() -> Response:
    """Get the script of the page at /docs."""
    return _send("page.js", SCRIPT)


@docs.operation("GET", "/docs/page.css", access=ANYONE, answer=_file(STYLE, "The page's style sheet."))
def get_docs_style() -> Response:
    """Get the style sheet of the page at /docs."""
    return _send("page.css", STYLE)


@docs.operation("GET", "/docs/swagger-ui-bundle.js", access=ANYONE, answer=_file(SCRIPT, "Swagger UI."))
def get_swagger_ui_script() -> Response:
    """Get the script of Swagger UI for the page at /docs."""
    return _send("swagger-ui-bundle.js", SCRIPT)


@docs.operation("GET", "/docs/swagger-ui.css", access=ANYONE, answer=_file(STYLE, "Swagger UI's style sheet."))
def get_swagger_ui_style() -> Response:
    """Get the style sheet of Swagger UI for the page at /docs."""
    return _send("swagger-ui.css", STYLE)


@cache
def _read(name: str) -> tuple[bytes, str]:
    folder = PAGE_FILES if name.startswith("page.") else SWAGGER_UI
    content = (folder / name).read_bytes()
    return content, etag_of(content)


def _send(name: str, media_type: str) -> Response:
    content, etag = _read(name)
    headers = {"ETag": etag, "Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
    if is_unchanged(etag):
        return Response(status=304, headers=headers)
    return Response(content, headers=headers, mimetype=media_type)
