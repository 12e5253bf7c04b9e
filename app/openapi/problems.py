"""The problems a route may answer with, from what it declares, and how the document shows them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from apispec import APISpec

from app.api.endpoint import SAFE_METHODS, Endpoint
from app.api.errors import (
    KINDS,
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
    Problem,
    RateLimited,
    RequestTimeout,
    TokenExpired,
    TokenInvalid,
    TokenRevoked,
    UnsupportedMediaType,
    UriTooLong,
    ValidationFailed,
    problem_document,
)
from app.api.errors.handlers import PROBLEM_JSON
from app.api.middleware import is_limited, must_accept_json
from app.openapi.components import HEADERS, Json, header_refs

# What the server and the door may answer to any request; an unknown query parameter is refused everywhere.
OF_ANY = (
    MalformedRequest,
    UriTooLong,
    ValidationFailed,
    HeadersTooLarge,
    InternalError,
    DatabaseUnavailable,
    Maintenance,
    Overloaded,
)
OF_BODY = (RequestTimeout, PayloadTooLarge, UnsupportedMediaType)
OF_TOKEN = (AuthenticationRequired, TokenExpired, TokenInvalid, TokenRevoked)
OF_KEY = (IdempotencyInProgress, IdempotencyKeyReused)
RATE_LIMIT = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
# What comes with every problem of a status.
HEADERS_OF: Mapping[int, tuple[str, ...]] = {
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
        "description": "A page that explains the problem to a person.",
    },
    "title": {"type": "string"},
    "status": {"type": "integer", "minimum": 400, "maximum": 599},
    "code": {"type": "string", "enum": list(KINDS), "description": "What a program should look at."},
    "detail": {"type": "string"},
    "request_id": {"type": "string", "description": "The X-Request-ID of the answer."},
}
PROBLEM: Json = {
    "type": "object",
    "description": "Why a request was refused, or failed (RFC 9457).",
    "properties": _MEMBERS,
    "required": list(_MEMBERS),
    "additionalProperties": False,
}
FIELD_ERRORS: Json = {
    "type": "object",
    "description": "By the name of the field as sent, or its index in a list: what is wrong, nested as sent.",
    "additionalProperties": {
        "oneOf": [
            {"type": "array", "items": {"type": "string"}, "minItems": 1},
            {"$ref": "#/components/schemas/FieldErrors"},
        ]
    },
}
VALIDATION_PROBLEM: Json = {
    "type": "object",
    "description": "Which fields of a request can't be taken, and why.",
    "properties": _MEMBERS
    | {
        "status": {"type": "integer", "const": 422},
        "code": {"type": "string", "const": VALIDATION},
        "errors": {"$ref": "#/components/schemas/FieldErrors"},
    },
    "required": [*_MEMBERS, "errors"],
    "additionalProperties": False,
}


def problem_codes(endpoint: Endpoint, method: str, path: str) -> list[str]:
    """Return the codes of every problem that calling this route may bring, in the order of the table."""
    found: set[type[Problem]] = {*OF_ANY, *endpoint.problems}
    if method not in SAFE_METHODS:
        found |= {*OF_BODY}
    if endpoint.access.need not in ("nothing", "token"):
        found |= {*OF_TOKEN}
    if endpoint.access.need == "fresh":
        found.add(FreshTokenRequired)
    if endpoint.access.need == "admin":
        found.add(Forbidden)
    if endpoint.idempotent:
        found |= {*OF_KEY}
    if is_limited(path):
        found.add(RateLimited)
        if must_accept_json(path):
            found.add(NotAcceptable)
    codes = {problem.code for problem in found}
    return [code for code in KINDS if code in codes]


def problem_responses(codes: Iterable[str], errors: Json, *, is_limited: bool) -> dict[str, Json]:
    """Return the responses that tell of these problems, by status. `errors` is the example of invalid fields."""
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(KINDS[code].status, []).append(code)
    return {str(status): _response(status, found, errors, is_limited=is_limited) for status, found in by_status.items()}


def share(spec: APISpec, responses: Mapping[str, Json]) -> dict[str, Json | str]:
    """Return the same responses, with a name in place of each that many operations have, put among the parts."""
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
    """The name of the response with these problems, or "" where each operation has its own."""
    if codes == [problem.code for problem in OF_TOKEN]:
        return "Unauthorized"
    return codes[0].title().replace("_", "") if len(codes) == 1 and codes != [VALIDATION] else ""


def add_examples(spec: APISpec, codes: Iterable[str], prefix: str) -> None:
    """Put an example of each problem among the parts; the one that names fields is each operation's own."""
    for code in codes:
        if code != VALIDATION and code not in spec.components.examples:
            problem = type("Example", (Problem,), {"code": code})()
            document = problem_document(problem, REQUEST_ID, prefix)
            spec.components.example(code, {"summary": problem.kind.title, "value": document})


def _response(status: int, codes: list[str], errors: Json, *, is_limited: bool) -> Json:
    names = ("X-Request-ID", *HEADERS_OF.get(status, ()), *(RATE_LIMIT if is_limited else ()), "Cache-Control")
    headers = header_refs(*names)
    if IdempotencyInProgress.code in codes:
        # The other conflicts of the same status do not pass by waiting.
        headers["Retry-After"] = HEADERS["Retry-After"] | {"required": False}
    examples: Json = {code: {"$ref": f"#/components/examples/{code}"} for code in codes if code != VALIDATION}
    if VALIDATION in codes:
        examples[VALIDATION] = {"summary": KINDS[VALIDATION].title, "value": errors}
    return {
        "description": " ".join(KINDS[code].detail for code in codes),
        "headers": headers,
        "content": {PROBLEM_JSON: {"schema": _schema(status, codes), "examples": examples}},
    }


def _schema(status: int, codes: list[str]) -> Json:
    others = [code for code in codes if code != VALIDATION]
    narrowed: Json = {
        "type": "object",
        "properties": {"status": {"const": status}, "code": {"enum": others}},
    }
    ways: list[Json] = []
    if VALIDATION in codes:
        ways.append({"$ref": "#/components/schemas/ValidationProblem"})
    if others:
        ways.append({"allOf": [{"$ref": "#/components/schemas/Problem"}, narrowed]})
    return ways[0] if len(ways) == 1 else {"oneOf": ways}


def validation_example(errors: Mapping[str, Any], prefix: str) -> Json:
    """Return the document that tells of these invalid fields."""
    return problem_document(ValidationFailed(errors), REQUEST_ID, prefix)
