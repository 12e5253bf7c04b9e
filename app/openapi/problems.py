"""Determines the problems that each route can answer with, and generates their responses, schemas and examples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from apispec import APISpec

from app.api.endpoint import SAFE_METHODS, Endpoint
from app.api.errors import (
    PROBLEMS,
    AuthenticationRequired,
    DatabaseUnavailable,
    Forbidden,
    FreshTokenRequired,
    HeadersTooLarge,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    InternalError,
    Maintenance,
    MalformedRequest,
    NotAcceptable,
    Overloaded,
    PayloadTooLarge,
    PreconditionFailed,
    Problem,
    RateLimited,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    UnsupportedMediaType,
    UriTooLong,
    ValidationFailed,
    example_document,
    list_problems,
)
from app.api.errors.handlers import PROBLEM_JSON
from app.api.middleware import is_limited, must_accept_json
from app.openapi.components import HEADERS, Json, header_refs

# Problems that any request can get. ValidationFailed is among them because of unknown query parameters.
COMMON_PROBLEMS = (
    MalformedRequest,
    PreconditionFailed,
    UriTooLong,
    ValidationFailed,
    HeadersTooLarge,
    InternalError,
    DatabaseUnavailable,
    Maintenance,
    Overloaded,
)
BODY_PROBLEMS = (PayloadTooLarge, UnsupportedMediaType)
TOKEN_PROBLEMS = (AuthenticationRequired, TokenExpired, TokenInvalid, TokenRevoked)
# Problems that operations share, by the name of their common response and schema.
GROUPS: Mapping[str, tuple[type[Problem], ...]] = {
    "Unauthorized": TOKEN_PROBLEMS,
    "Validation": (ValidationFailed,),
    "ServiceUnavailable": (DatabaseUnavailable, Maintenance, Overloaded),
}
IDEMPOTENCY_PROBLEMS = (IdempotencyInProgress, IdempotencyKeyReused)
RATE_LIMIT_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
# Headers of every problem with this status.
STATUS_HEADERS: Mapping[int, tuple[str, ...]] = {
    401: ("WWW-Authenticate",),
    415: ("Accept",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}
REQUEST_ID = "7f0c9a4e8d5b4c6f9a1e2d3c4b5a6978"
VALIDATION = ValidationFailed.code

_MEMBERS: dict[str, Json] = {
    "type": {
        "type": "string",
        "format": "uri-reference",
        "description": "The URL of a page that explains the problem.",
    },
    "title": {"type": "string"},
    "status": {"type": "integer", "minimum": 400, "maximum": 599},
    "code": {"type": "string", "description": "Identifies the kind of problem, for programs."},
    "detail": {"type": "string"},
    "request_id": {"type": "string", "description": "The X-Request-ID of the response."},
}
FIELD_ERRORS: Json = {
    "type": "object",
    "description": "The errors by field name, or by index in a list, nested like the request.",
    "additionalProperties": {
        "oneOf": [
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"$ref": "#/components/schemas/FieldErrors"},
        ]
    },
}


def problem_schema(codes: Iterable[str]) -> Json:
    """Return the schema of a problem document with one of these codes."""
    return _object("The reason why a request failed (RFC 9457).", list(codes), {})


def _object(description: str, codes: list[str], narrowed: Json) -> Json:
    """Return the schema of problems with these codes. `narrowed` replaces members, or adds some."""
    members = _MEMBERS | {"code": _MEMBERS["code"] | {"enum": codes}} | narrowed
    return {
        "type": "object",
        "description": description,
        "properties": members,
        "required": list(members),
        "additionalProperties": False,
    }


def problem_codes(endpoint: Endpoint, method: str, path: str) -> list[str]:
    """Return the codes of all problems that this route can answer with, ordered by status and code."""
    found: set[type[Problem]] = {*COMMON_PROBLEMS, *endpoint.problems}
    if method not in SAFE_METHODS:
        found.update(BODY_PROBLEMS)
    if endpoint.access.finds_caller:
        found.update(TOKEN_PROBLEMS)
    if endpoint.access.level == "fresh":
        found.add(FreshTokenRequired)
    if endpoint.access.level == "admin":
        found.add(Forbidden)
    if endpoint.idempotent:
        found.update(IDEMPOTENCY_PROBLEMS)
    if is_limited(path):
        found.add(RateLimited)
        if must_accept_json(path):
            found.add(NotAcceptable)
    codes = {problem.code for problem in found}
    return [problem.code for problem in list_problems() if problem.code in codes]


def problem_responses(spec: APISpec, codes: Iterable[str], errors: Json, *, is_limited: bool) -> dict[str, Json]:
    """Return the responses for these problems by status, and add their schemas to the components.

    `errors` is the example of a validation problem.
    """
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(PROBLEMS[code].status, []).append(code)
    return {
        str(status): _response(spec, status, found, errors, is_limited=is_limited)
        for status, found in by_status.items()
    }


def share_responses(spec: APISpec, responses: Mapping[str, Json]) -> dict[str, Json | str]:
    """Move responses that many operations have to the components, and return all with names in place of these."""
    shared: dict[str, Json | str] = {}
    for status, response in responses.items():
        name = _shared_name(list(response["content"][PROBLEM_JSON]["examples"]))
        known = spec.components.responses.get(name, response)
        if name and known == response:
            spec.components.responses[name] = response
            shared[status] = name
        else:
            shared[status] = response
    return shared


def _shared_name(codes: list[str]) -> str:
    """Return the name of the shared response with these problems, or "" if each operation has its own."""
    groups = _groups(codes)
    return next(iter(groups)) if len(groups) == 1 and codes != [VALIDATION] else ""


def _groups(codes: Iterable[str]) -> dict[str, list[str]]:
    """Return the codes by the name of the problem, or of the GROUPS that contains all of its problems."""
    rest = list(codes)
    found: dict[str, list[str]] = {}
    for name, problems in GROUPS.items():
        group = [code for code in rest if code in {problem.code for problem in problems}]
        if len(group) == len(problems):
            found[name] = group
            rest = [code for code in rest if code not in group]
    return found | {code.title().replace("_", ""): [code] for code in rest}


def add_examples(spec: APISpec, codes: Iterable[str], prefix: str) -> None:
    """Add an example of each problem to the components, except of validation problems, which differ by operation."""
    for code in codes:
        if code != VALIDATION and code not in spec.components.examples:
            problem = PROBLEMS[code]
            document = example_document(problem, REQUEST_ID, prefix)
            spec.components.example(code, {"summary": problem.title, "value": document})


def _response(spec: APISpec, status: int, codes: list[str], errors: Json, *, is_limited: bool) -> Json:
    rate_limit = RATE_LIMIT_HEADERS if is_limited else ()
    headers = header_refs("X-Request-ID", *STATUS_HEADERS.get(status, ()), *rate_limit, "Cache-Control")
    if IdempotencyInProgress.code in codes:
        # Optional, because the other problems with status 409 do not end after a time.
        headers["Retry-After"] = HEADERS["Retry-After"] | {"required": False}
    examples: Json = {code: {"$ref": f"#/components/examples/{code}"} for code in codes if code != VALIDATION}
    if VALIDATION in codes:
        examples[VALIDATION] = {"summary": ValidationFailed.title, "value": errors}
    return {
        "description": " ".join(PROBLEMS[code].detail for code in codes),
        "headers": headers,
        "content": {PROBLEM_JSON: {"schema": _schema(spec, codes), "examples": examples}},
    }


def _schema(spec: APISpec, codes: list[str]) -> Json:
    """Return a schema of the problems with these codes, and add a component for each group of codes.

    The components repeat all members, and `status` is an `enum` of one number, because code generators do not
    intersect schemas (`allOf`) reliably and omit a response whose `status` is a bare `const`.
    """
    refs = []
    for group, found in _groups(codes).items():
        name = group + "Problem"
        if name not in spec.components.schemas:
            spec.components.schema(name, _narrowed(found))
        refs.append({"$ref": f"#/components/schemas/{name}"})
    return refs[0] if len(refs) == 1 else {"oneOf": refs}


def _narrowed(codes: list[str]) -> Json:
    problems = [PROBLEMS[code] for code in codes]
    narrowed: Json = {"status": {"type": "integer", "enum": [problems[0].status]}}
    if codes == [VALIDATION]:
        narrowed["errors"] = {"$ref": "#/components/schemas/FieldErrors"}
    return _object(" ".join(problem.detail for problem in problems), codes, narrowed)
