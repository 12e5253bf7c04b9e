"""The page of each problem, to which the `type` of a problem document leads (RFC 9457 section 3.1.1)."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

import orjson
from flask import Response, g, render_template, request
from marshmallow import Schema, fields

from app.api.access import ANYONE
from app.api.errors import KINDS, NotFound, Problem, ValidationFailed, problem_document
from app.api.fields import Choice, OutputSchema
from app.api.responses import written
from app.api.routing import Api
from app.api.serialization import dump_bytes
from app.components import components
from app.openapi.explanations import EXPLANATIONS

JSON, HTML = "application/json", "text/html"
SLUGS = {code.replace("_", "-"): code for code in KINDS}
REQUEST_ID = "7f0c9a4e8d5b4c6f9a1e2d3c4b5a6978"
FIELD_ERRORS = {"email": ["Not a valid email address."], "password": ["Must have at least 8 characters."]}
STYLE = (files("app.openapi") / "templates" / "problem.css").read_text(encoding="utf-8")
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
# The one style sheet by its hash, and nothing else: the page has no script, picture or form.
POLICY = f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

EXAMPLE = problem_document(NotFound(), REQUEST_ID)

problems = Api("problems", __name__, template_folder="templates")


class ProblemExplained(OutputSchema):
    """What a problem means."""

    type = fields.String(metadata={"format": "uri-reference", "example": "/problems/not-found"})
    title = fields.String(metadata={"example": KINDS["not_found"].title})
    status = fields.Integer(metadata={"minimum": 400, "maximum": 599, "example": 404})
    code = Choice(*KINDS, metadata={"example": "not_found"})
    when = fields.String(metadata={"description": "When it comes.", "example": EXPLANATIONS["not_found"].when})
    advice = fields.String(
        metadata={"description": "What a client should do.", "example": EXPLANATIONS["not_found"].advice}
    )
    example = fields.Dict(metadata={"description": "A document that tells of it.", "example": EXAMPLE})


EXPLAINED: Schema = ProblemExplained()


@problems.operation(
    "GET",
    "/problems/<name>",
    access=ANYONE,
    arguments={"name": {"type": "string", "enum": [*SLUGS], "examples": ["not-found"]}},
    answer=written(
        EXPLAINED, others=(HTML,), cache="max-age=3600", describes="For a person, or as JSON for who accepts just that."
    ),
    problems=(NotFound,),
)
def get_problem(name: str) -> Response:
    """Explain a problem: when it comes and what a client should do."""
    code = SLUGS.get(name)
    if code is None:
        raise NotFound
    explained = explain(code)
    if request.accept_mimetypes.best_match([HTML, JSON], HTML) == JSON:
        response = Response(dump_bytes(explained, EXPLAINED), mimetype=JSON)
    else:
        sample = orjson.dumps(explained["example"], option=orjson.OPT_INDENT_2).decode()
        detail = KINDS[code].detail
        has_docs = components().settings.docs_enabled
        page = render_template(
            "problem.html", problem=explained, detail=detail, sample=sample, style=STYLE, has_docs=has_docs
        )
        response = Response(page, mimetype=HTML, headers={"Content-Security-Policy": POLICY})
    response.vary.add("Accept")
    return response


def explain(code: str) -> dict[str, Any]:
    """Return all that is told of a problem."""
    kind, explanation = KINDS[code], EXPLANATIONS[code]
    is_validation = code == ValidationFailed.code
    problem = ValidationFailed(FIELD_ERRORS) if is_validation else type("Example", (Problem,), {"code": code})()
    document = problem_document(problem, REQUEST_ID, g.get("service_prefix", ""))
    return {
        "type": document["type"],
        "title": kind.title,
        "status": kind.status,
        "code": code,
        **explanation._asdict(),
        "example": document,
    }
