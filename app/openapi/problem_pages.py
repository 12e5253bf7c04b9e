"""GET /problems/{name}: the page that explains a problem, to which `type` refers (RFC 9457 section 3.1.1)."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import orjson
from flask import Response, g, render_template

from app.api.access import ANYONE
from app.api.errors import PROBLEMS, NotFound, example_document
from app.api.responses import written
from app.api.routing import Api
from app.components import components
from app.openapi.problems import REQUEST_ID

HTML = "text/html"
STYLE = (files("app.openapi") / "templates" / "problem.css").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# Allows the page its inline style sheet, identified by its hash, and nothing else.
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

problems = Api("problems", __name__, template_folder="templates")


@problems.operation(
    "GET",
    "/problems/<name>",
    access=ANYONE,
    arguments={"name": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "examples": ["not-found"]}},
    answer=written(media_type=HTML, cache="max-age=3600", describes="The page."),
    problems=(NotFound,),
)
def get_problem(name: str) -> Response:
    """Explain a problem: when it occurs and what a client should do."""
    problem = PROBLEMS.get(name.replace("-", "_"))
    if problem is None or "_" in name:
        raise NotFound
    example = orjson.dumps(example_document(problem, REQUEST_ID, g.service_prefix), option=orjson.OPT_INDENT_2).decode()
    has_docs = components().settings.docs_enabled
    page = render_template("problem.html", problem=problem, example=example, style=STYLE, has_docs=has_docs)
    return Response(page, mimetype=HTML, headers={"Content-Security-Policy": POLICY})
