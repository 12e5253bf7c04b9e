"""Generates the OpenAPI operation of an endpoint."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

from apispec import APISpec
from marshmallow import Schema, ValidationError

from app.api.access import AccessPolicy
from app.api.endpoint import Endpoint
from app.api.errors import PreconditionFailed, ValidationFailed, problem_document
from app.api.fields import InputSchema
from app.api.middleware import is_limited
from app.api.request_body import JSON
from app.api.responses import NO_STORE, Answer
from app.openapi.components import Json, cache_control, header_refs
from app.openapi.problems import (
    RATE_LIMIT_HEADERS,
    REQUEST_ID,
    add_examples,
    problem_codes,
    problem_responses,
    share_responses,
)
from app.openapi.schemas import Schemas

UNKNOWN_FIELD = "unknown_field"
_CREATE_ONLY: Json = {
    "name": "If-None-Match",
    "in": "header",
    "description": "With `*` the resource is only created. If it exists, the response is 412.",
    "schema": {"type": "string", "examples": ["*"]},
}


@dataclass(frozen=True, slots=True)
class Operation:
    """An endpoint with the method and path of its route. `path` is without SERVICE_PREFIX, which is in `prefix`."""

    endpoint: Endpoint
    method: str
    path: str
    prefix: str
    tag: str
    path_parameters: list[Json]

    @property
    def is_limited(self) -> bool:
        """Whether the general rate limit applies."""
        return is_limited(self.path)

    @property
    def can_create(self) -> bool:
        """Whether a PUT creates the resource if it does not exist."""
        return self.method == "PUT" and 201 in self.endpoint.answer.also

    @property
    def can_be_not_modified(self) -> bool:
        """Whether the response can be 304."""
        return self.method == "GET" and self.endpoint.answer.has_etag(self.method)


def make_operation(operation: Operation, spec: APISpec, schemas: Schemas) -> Json:
    """Return the operation object of an endpoint."""
    endpoint = operation.endpoint
    about = inspect.getdoc(endpoint.view) or ""
    described: Json = {
        "operationId": endpoint.view.__name__,
        "summary": about.partition(". ")[0].removesuffix("."),
        "description": f"{about}\n\nAccess: {endpoint.access.describes}",
        "tags": [operation.tag],
        "security": _security(endpoint.access),
        "parameters": _parameters(operation, schemas),
        "responses": _responses(operation, spec, schemas),
    }
    if endpoint.body is not None:
        content = _json_content(schemas.one([endpoint.body]), schemas)
        described["requestBody"] = {"required": endpoint.body_required, "content": content}
    return described


def _security(access: AccessPolicy) -> list[dict[str, list[str]]]:
    """Return the security requirements, of which one must be met; the empty one is met without credentials."""
    if access.level == "nothing":
        return []
    requirements: list[dict[str, list[str]]] = [{f"{kind}Token": []} for kind in access.tokens]
    if access.takes_cookie:
        requirements.append({"refreshCookie": []})
    return [*requirements, {}] if access.level in ("optional", "token") else requirements


def _parameters(operation: Operation, schemas: Schemas) -> list[Json | str]:
    # apispec replaces a name by a reference to the component.
    endpoint = operation.endpoint
    parameters: list[Json | str] = [*operation.path_parameters]
    if endpoint.query is not None:
        parameters += schemas.parameters(endpoint.query)
    if operation.can_be_not_modified:
        parameters.append("If-None-Match")
    if PreconditionFailed in endpoint.problems:
        parameters.append("If-Match")
    if operation.can_create:
        parameters.append(_CREATE_ONLY)
    if endpoint.idempotent:
        parameters.append("Idempotency-Key")
    if endpoint.access.takes_cookie:
        parameters.append("X-CSRF-TOKEN")
    return parameters


def _json_content(schema: Json, schemas: Schemas) -> Json:
    return {JSON: {"schema": schema, "example": schemas.example(schema)}}


def _responses(operation: Operation, spec: APISpec, schemas: Schemas) -> dict[str, Json | str]:
    endpoint = operation.endpoint
    codes = problem_codes(endpoint, operation.method, operation.path)
    add_examples(spec, codes, operation.prefix)
    errors = ValidationFailed(_validation_errors(endpoint.body or endpoint.query))
    example = problem_document(errors, REQUEST_ID, operation.prefix)
    responses = {str(endpoint.answer.status): _success(operation, schemas)}
    if operation.can_be_not_modified:
        responses["304"] = {
            "description": "The resource has not changed since the version in If-None-Match.",
            "headers": _success_headers(operation),
        }
    if endpoint.answer.unfinished is not None:
        responses["202"] = _unfinished(operation, endpoint.answer.unfinished, schemas)
    problems = problem_responses(spec, codes, example, is_limited=operation.is_limited)
    for status in map(str, endpoint.answer.also):
        responses[status] = _success(operation, schemas)
        if status == "201":
            responses[status]["description"] = "The resource was created. Its URL is in Location."
            responses[status]["headers"] |= header_refs("Location")
        # The same status can also be that of a problem, such as 503 overloaded.
        responses[status]["content"] |= problems.get(status, {}).get("content", {})
    others = {status: problem for status, problem in problems.items() if status not in responses}
    return dict(sorted({**share_responses(spec, others), **responses}.items()))


def _success(operation: Operation, schemas: Schemas) -> Json:
    answer = operation.endpoint.answer
    response: Json = {
        "description": answer.describes or _describe(answer),
        "headers": _success_headers(operation),
    }
    if answer.status == 204:
        return response
    # In this order: some code generators support only the first media type, which therefore is the default.
    content: Json = {media_type: {"schema": {"type": "string"}} for media_type in (answer.media_type, *answer.others)}
    if answer.schemas:
        shown = schemas.page(answer.schemas) if answer.is_list else schemas.one(answer.schemas)
        content |= _json_content(shown, schemas)
    response["content"] = content
    return response


def _unfinished(operation: Operation, schema: Schema, schemas: Schemas) -> Json:
    return {
        "description": "The request has taken effect, but some of its work is left. Repeating it continues the work.",
        "headers": _success_headers(operation) | header_refs("Retry-After"),
        "content": _json_content(schemas.one([schema]), schemas),
    }


def _describe(answer: Answer) -> str:
    if answer.is_list:
        return "One page of the list."
    if answer.is_created:
        return "The new resource. Its URL is in Location."
    return "Success, without a body." if answer.status == 204 else "Success."


def _success_headers(operation: Operation) -> Json:
    endpoint, answer = operation.endpoint, operation.endpoint.answer
    applies = {
        "X-Request-ID": True,
        "ETag": answer.has_etag(operation.method),
        "Location": answer.is_created,
        "Link": answer.is_list,
        "Idempotency-Replayed": endpoint.idempotent,
        **dict.fromkeys(RATE_LIMIT_HEADERS, operation.is_limited),
    }
    headers = header_refs(*(name for name, is_present in applies.items() if is_present))
    headers |= {name: {"description": about, "schema": {"type": "string"}} for name, about in answer.headers.items()}
    if endpoint.cache_controls == (NO_STORE,):
        return headers | header_refs("Cache-Control")
    return headers | {"Cache-Control": cache_control(*endpoint.cache_controls)}


def _validation_errors(schema: Schema | None) -> Json:
    """Return the errors of a body, or a query, that has only an unknown field, as an example for the document."""
    try:
        (schema or InputSchema()).load({UNKNOWN_FIELD: ""})
    except ValidationError as error:
        return dict(error.messages_dict)
    return {}
