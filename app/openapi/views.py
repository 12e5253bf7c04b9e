"""The page of the service at /, the OpenAPI document, and the page at /docs that shows it in Swagger UI.

Swagger UI's files come from the package flask-swagger-ui. page.html, page.js and page.css add a sign-in form to it. No
page loads anything from other origins.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import PurePath
from typing import Any

from flask import Response, current_app, g
from marshmallow import INCLUDE, Schema, fields

from app import openapi
from app.api.access import ANYONE
from app.api.conditional import etag_of, respond_with_tag
from app.api.errors import NotFound
from app.api.fields import OPTIONAL, OutputSchema
from app.api.responses import REVALIDATE, written
from app.api.routing import API_PATH, Api
from app.components import components
from app.openapi.document import TITLE
from app.openapi.problem_pages import html_page, json_page, prefers_html

documents = Api("documents", __name__, template_folder="templates")
docs = Api("docs", __name__)
PAGE = "page.html"
FOLDERS = {
    PAGE: files("app.openapi") / "docs",
    "page.js": files("app.openapi") / "docs",
    "page.css": files("app.openapi") / "docs",
    "swagger-ui-bundle.js": files("flask_swagger_ui") / "dist",
    "swagger-ui.css": files("flask_swagger_ui") / "dist",
}
PARTS = [name for name in FOLDERS if name != PAGE]
HTML, SCRIPT, STYLE = "text/html", "text/javascript", "text/css"
MEDIA_TYPES = {".html": HTML, ".js": SCRIPT, ".css": STYLE}
# Allows files of this origin only, and data: for images because Swagger UI's style sheet contains its icons.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)


def _path(example: str, about: str, **metadata: Any) -> fields.String:
    return fields.String(metadata={"format": "uri-reference", "description": about, "example": example, **metadata})


class OpenApi(OutputSchema):
    """An OpenAPI document."""

    class Meta:
        unknown = INCLUDE

    openapi = fields.String(metadata={"example": "3.1.0"})
    info = fields.Dict(metadata={"example": {"title": "Gatepost", "version": "1.0.0"}})
    paths = fields.Dict(metadata={"example": {"/health": {"get": {"operationId": "get_health"}}}})


class Service(OutputSchema):
    """The name of the service, and the paths of its documents."""

    name = fields.String(metadata={"example": "Gatepost"})
    api = _path("/api/v1", "The base path of the API.")
    openapi = _path("/openapi.json", "The OpenAPI document.")
    docs = _path("/docs", "A page to read and try the API. Absent if it is switched off.", **{OPTIONAL: True})
    problems = _path("/problems", "The list of all problems.")
    health = _path("/health", "The health check.")


OPENAPI: Schema = OpenApi()
SERVICE: Schema = Service()


@documents.operation(
    "GET",
    "/",
    access=ANYONE,
    answer=written(SERVICE, others=(HTML,), cache=REVALIDATE, describes="JSON, or HTML for browsers."),
)
def get_service() -> Response:
    """Get the name of this service and the paths of its documents."""
    if prefers_html():
        return html_page("service.html")
    links = {"api": API_PATH, "openapi": "/openapi.json", "problems": "/problems", "health": "/health"}
    if components().settings.docs_enabled:
        links["docs"] = "/docs"
    return json_page({"name": TITLE} | {name: g.service_prefix + path for name, path in links.items()}, SERVICE)


@documents.operation("GET", "/openapi.json", access=ANYONE, answer=written(OPENAPI, cache=REVALIDATE, is_tagged=True))
def get_openapi() -> Response:
    """Get the OpenAPI 3.1 document of this service."""
    return respond_with_tag(*openapi.find_document(current_app))


@docs.operation(
    "GET",
    "/docs",
    access=ANYONE,
    answer=written(media_type=HTML, cache=REVALIDATE, is_tagged=True, describes="The page."),
)
def get_docs() -> Response:
    """Get the page that shows this document, with a sign-in form and a way to try each operation."""
    return _send(PAGE)


@docs.operation(
    "GET",
    "/docs/<name>",
    access=ANYONE,
    arguments={"name": {"type": "string", "enum": PARTS}},
    answer=written(media_type=SCRIPT, others=(STYLE,), cache=REVALIDATE, is_tagged=True, describes="The file."),
    problems=(NotFound,),
)
def get_docs_file(name: str) -> Response:
    """Get a script or a style sheet of the page at /docs."""
    if name not in PARTS:
        raise NotFound
    return _send(name)


@cache
def _read(name: str) -> tuple[bytes, str]:
    content = (FOLDERS[name] / name).read_bytes()
    return content, etag_of(content)


def _send(name: str) -> Response:
    headers = {"Content-Security-Policy": POLICY, "Referrer-Policy": "no-referrer"}
    return respond_with_tag(*_read(name), MEDIA_TYPES[PurePath(name).suffix], headers)
