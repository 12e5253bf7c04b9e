"""GET /problems/{name}: the page that explains a problem, to which `type` refers (RFC 9457 section 3.1.1).

GET /problems lists them. Both pages are HTML or JSON.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import orjson
from flask import Response, g, render_template
from marshmallow import Schema, fields

from app.api.access import ANYONE
from app.api.errors import NotFound, Problem, example_document, problem_path
from app.api.fields import OutputSchema
from app.api.middleware.accept import prefers
from app.api.responses import written
from app.api.routing import Api
from app.api.serialization import dump_bytes
from app.components import components
from app.openapi.problems import REQUEST_ID

JSON, HTML = "application/json", "text/html"
STYLE = (files("app.openapi") / "templates" / "problem.css").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# Allows the page its inline style sheet, identified by its hash, and nothing else.
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

problems = Api("problems", __name__, template_folder="templates")


class ProblemListed(OutputSchema):
    """A problem and when it occurs."""

    type = fields.String(metadata={"format": "uri-reference", "example": problem_path(NotFound)})
    title = fields.String(metadata={"example": NotFound.title})
    status = fields.Integer(metadata={"minimum": 400, "maximum": 599, "example": NotFound.status})
    code = fields.String(metadata={"example": NotFound.code})
    when = fields.String(metadata={"description": "When the problem occurs.", "example": NotFound.when})


class ProblemExplained(ProblemListed):
    """What a problem means."""

    advice = fields.String(metadata={"description": "What a client should do.", "example": NotFound.advice})
    example = fields.Dict(
        metadata={
            "description": "An example of its document.",
            "oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("ValidationProblem", "Problem")],
            "example": example_document(NotFound, REQUEST_ID),
        }
    )


class ProblemList(OutputSchema):
    """All problems, ordered by status and code."""

    problems = fields.List(fields.Nested(ProblemListed))


EXPLAINED: Schema = ProblemExplained()
LISTED: Schema = ProblemList()


@problems.operation(
    "GET",
    "/problems",
    access=ANYONE,
    answer=written(LISTED, others=(HTML,), cache="max-age=3600", describes="JSON, or HTML for browsers."),
)
def get_problems() -> Response:
    """List all problems with links to their explanations."""
    found = components().problems.values()
    if prefers_html():
        return html_page("problems.html", problems=found)
    return json_page({"problems": [_listed(problem) for problem in found]}, LISTED)


@problems.operation(
    "GET",
    "/problems/<name>",
    access=ANYONE,
    arguments={"name": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "examples": ["not-found"]}},
    answer=written(
        EXPLAINED,
        media_type=HTML,
        others=(JSON,),
        cache="max-age=3600",
        describes="An HTML page, or JSON if the Accept header prefers it.",
    ),
    problems=(NotFound,),
)
def get_problem(name: str) -> Response:
    """Explain a problem: when it occurs and what a client should do."""
    problem = components().problems.get(name.replace("-", "_"))
    if problem is None or "_" in name:
        raise NotFound
    example = example_document(problem, REQUEST_ID, g.service_prefix)
    # Unlike the lists, HTML by default, because people follow the `type` of a problem.
    if prefers(JSON, HTML):
        return json_page(_listed(problem) | {"advice": problem.advice, "example": example}, EXPLAINED)
    text = orjson.dumps(example, option=orjson.OPT_INDENT_2).decode()
    return html_page("problem.html", problem=problem, example=text)


def _listed(problem: type[Problem]) -> dict[str, Any]:
    return {
        "type": problem_path(problem, g.service_prefix),
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "when": problem.when,
    }


def prefers_html() -> bool:
    """Return whether the request asks for HTML rather than JSON, as browsers do."""
    return prefers(HTML, JSON)


def json_page(value: Mapping[str, Any], schema: Schema) -> Response:
    """Return the JSON form of a page that has an HTML form too."""
    return Response(dump_bytes(value, schema), mimetype=JSON, headers={"Vary": "Accept"})


def html_page(template: str, **context: Any) -> Response:
    """Return the HTML form of a page. The template gets the style sheet, the prefix, and whether /docs is served."""
    shared = {"style": STYLE, "prefix": g.service_prefix, "has_docs": components().settings.docs_enabled}
    headers = {"Content-Security-Policy": POLICY, "Vary": "Accept"}
    return Response(render_template(template, **shared, **context), mimetype=HTML, headers=headers)
