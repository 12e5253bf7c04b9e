"""GET /problems/{name}: the page that explains a problem, to which `type` refers (RFC 9457 section 3.1.1)."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files

import orjson
from flask import Response, g, render_template, request
from marshmallow import Schema, fields

from app.api.access import ANYONE
from app.api.errors import PROBLEMS, NotFound, Problem, example_document, problem_path
from app.api.fields import OutputSchema
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


class ProblemExplained(OutputSchema):
    """What a problem means."""

    type = fields.String(metadata={"format": "uri-reference", "example": problem_path(NotFound)})
    title = fields.String(metadata={"example": NotFound.title})
    status = fields.Integer(metadata={"minimum": 400, "maximum": 599, "example": NotFound.status})
    code = fields.String(metadata={"example": NotFound.code})
    when = fields.String(metadata={"description": "When the problem occurs.", "example": NotFound.when})
    advice = fields.String(metadata={"description": "What a client should do.", "example": NotFound.advice})
    example = fields.Dict(
        metadata={"description": "An example of its document.", "example": example_document(NotFound, REQUEST_ID)}
    )


EXPLAINED: Schema = ProblemExplained()


@problems.operation(
    "GET",
    "/problems/<name>",
    access=ANYONE,
    arguments={"name": {"type": "string", "pattern": "^[a-z0-9]+(-[a-z0-9]+)*$", "examples": ["not-found"]}},
    answer=written(
        EXPLAINED,
        others=(HTML,),
        cache="max-age=3600",
        describes="An HTML page, or JSON if the Accept header prefers it.",
    ),
    problems=(NotFound,),
)
def get_problem(name: str) -> Response:
    """Explain a problem: when it occurs and what a client should do."""
    problem = PROBLEMS.get(name.replace("-", "_"))
    if problem is None or "_" in name:
        raise NotFound
    if request.accept_mimetypes.best_match([HTML, JSON], HTML) == JSON:
        response = _explain_as_json(problem)
    else:
        response = _explain_as_html(problem)
    response.vary.add("Accept")
    return response


def _explain_as_json(problem: type[Problem]) -> Response:
    explained = {
        "type": problem_path(problem, g.service_prefix),
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "when": problem.when,
        "advice": problem.advice,
        "example": example_document(problem, REQUEST_ID, g.service_prefix),
    }
    return Response(dump_bytes(explained, EXPLAINED), mimetype=JSON)


def _explain_as_html(problem: type[Problem]) -> Response:
    example = orjson.dumps(example_document(problem, REQUEST_ID, g.service_prefix), option=orjson.OPT_INDENT_2).decode()
    has_docs = components().settings.docs_enabled
    page = render_template("problem.html", problem=problem, example=example, style=STYLE, has_docs=has_docs)
    return Response(page, mimetype=HTML, headers={"Content-Security-Policy": POLICY})
