"""Bodies: each member with values of other types and with hostile text, unknown and missing members, and no JSON."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from app.features import Call
from gatepost.testing.openapi_document import Document
from gatepost.testing.scenes import Scene, explain
from gatepost.testing.subjects import WRITES, Operation, for_each
from gatepost.testing.subjects import pytest_generate_tests as pytest_generate_tests

# Of each type of JSON, and text that databases, terminals and browsers treat in their own ways. The longest still has
# room in a body of the largest size.
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, 2**63, -(2**63) - 1, 10**30, "", "x", [], ["x"], [[]], {}, {"a": "b"}),
    *("\x00", "a\x00b", "\ud800", "\u202eevil", "%_\\", "' OR 1=1 --", "<script>", "\u200b", "x" * 10**6),
)
NO_JSON: dict[str, tuple[dict[str, Any], int]] = {
    "a member that is unknown": ({"json": {"surprise": 1}}, 422),
    "a list": ({"json": [1]}, 422),
    "a string": ({"json": "title"}, 422),
    "null": ({"data": "null", "content_type": "application/json"}, 422),
    "no JSON": ({"data": "{", "content_type": "application/json"}, 400),
    "no UTF-8": ({"data": b'{"a": "\xff"}', "content_type": "application/json"}, 400),
    "a name twice": ({"data": '{"a": 1, "a": 1}', "content_type": "application/json"}, 400),
    "NaN": ({"data": '{"a": NaN}', "content_type": "application/json"}, 400),
    "deep nesting": ({"data": "[" * 5000 + "]" * 5000, "content_type": "application/json"}, 400),
    "a form": ({"data": {"title": "x"}}, 415),
    "compressed content": ({"json": {}, "headers": {"Content-Encoding": "gzip"}}, 415),
    "more than the largest size": ({"data": b" " * 1_048_577, "content_type": "application/json"}, 413),
}
Path = tuple[str | int, ...]


def has_body(operation: Operation) -> bool:
    """Return whether an operation has a body and a call that succeeds."""
    return operation.endpoint.body is not None and bool(operation.successes)


def schema_of(document: Document, operation: Operation) -> Any:
    """Return the JSON Schema of the body of an operation."""
    body = document.operations[operation.name][2]["requestBody"]
    return document.resolve(body["content"]["application/json"]["schema"])


def members(schema: Any, document: Document, body: Any) -> Iterator[Path]:
    """Yield the path of each member of a body: those of the schema, and in lists those of the first item."""
    schema = document.resolve(schema)
    for name, member in schema.get("properties", {}).items():
        yield (name,)
        inner = body.get(name) if isinstance(body, dict) else None
        if isinstance(inner, dict):
            yield from ((name, *path) for path in members(member, document, inner))
        if isinstance(inner, list) and inner:
            yield (name, 0)
            items = document.resolve(member).get("items", {})
            yield from ((name, 0, *path) for path in members(items, document, inner[0]))


def changed(body: Any, path: Path, value: Any) -> Any:
    """Return a copy of a body with another value at a path."""
    whole = copy.deepcopy(body)
    part = whole
    for name in path[:-1]:
        part = part[name]
    part[path[-1]] = value
    return whole


def sendable(body: Any) -> bytes:
    """Return a body as JSON; Python escapes lone surrogates."""
    return json.dumps(body).encode()


def place(path: Path) -> str:
    """Return a path for a message."""
    return ".".join(map(str, path))


def short(value: Any) -> str:
    """Return a value for a message."""
    return ascii(value)[:40]


@for_each(has_body)
def test_a_value_that_the_schema_excludes_is_422(scene: Scene, operation: Operation) -> None:
    call, document = operation.success, scene.document
    schema, body, before = schema_of(document, operation), scene.body(call) or {}, scene.rows()
    for path in members(schema, document, body):
        for value in VALUES:
            wrong = changed(body, path, value)
            if is_allowed(document, schema, wrong):
                continue
            response = scene.send(call, body=sendable(wrong))
            message = f"{operation.name} with {place(path)} = {short(value)}, which its schema excludes: "
            assert response.status_code == 422, message + explain(response)
            assert {*response.get_json()["errors"]} == {path[0]}, message + explain(response)
        raw = sendable(changed(body, path, "RAW")).replace(b'"RAW"', b"1e400")
        response = scene.send(call, body=raw)
        assert response.status_code == 400, f"{operation.name} with {place(path)} = 1e400: {explain(response)}"
    assert scene.rows() == before, f"{operation.name} changes rows, though it answers 422"


@for_each(has_body)
def test_a_value_that_the_schema_allows_is_no_500(scene: Scene, operation: Operation) -> None:
    call, document = operation.success, scene.document
    schema, body = schema_of(document, operation), scene.body(call) or {}
    for path in members(schema, document, body):
        for value in VALUES:
            other = changed(body, path, value)
            if is_allowed(document, schema, other):
                response = scene.send(call, body=sendable(other))
                if 400 <= response.status_code < 500 and scene.is_changed:
                    # Perhaps because of an earlier value, such as a key that is taken now.
                    scene.restart()
                    response = scene.send(call, body=sendable(other))
                message = f"{operation.name} with {place(path)} = {short(value)}: {explain(response)}"
                assert response.status_code < 500, message
                scene.document.check(response)


def is_allowed(document: Document, schema: Any, body: Any) -> bool:
    """Return whether a schema allows a body. No schema can say that UTF-8 has no lone surrogates."""
    return "\\ud800" not in json.dumps(body) and not document.errors(schema, body)


@for_each(has_body)
def test_a_missing_required_member_is_422(scene: Scene, operation: Operation) -> None:
    call, schema = operation.success, schema_of(scene.document, operation)
    required = {*schema.get("required", ())}
    if required:
        response = scene.send(call, body={})
        assert response.status_code == 422, f"{operation.name} without {sorted(required)}: {explain(response)}"
        assert {*response.get_json()["errors"]} == required, f"{operation.name}: {explain(response)}"
    if operation.endpoint.body_required:
        response = scene.send(call, body=b"")
        assert response.status_code == 400, f"{operation.name} without a body: {explain(response)}"


@for_each(lambda operation: operation.method in WRITES and operation.successes)
def test_an_invalid_body_is_refused(scene: Scene, operation: Operation) -> None:
    call, before = operation.success, scene.rows()
    for kind, (options, expected) in NO_JSON.items():
        response = scene.send(call, body=None, **copy.deepcopy(options))
        assert response.status_code == expected, f"{operation.name} with {kind}: {explain(response)}"
    response = scene.send(call, body=(scene.body(call) or {}) | {"surprise": 1})
    assert response.status_code == 422, f"{operation.name} with an unknown member: {explain(response)}"
    assert scene.rows() == before, f"{operation.name} changes rows, though its body is invalid"


def example_of(document: Document, operation: Operation) -> Any:
    """Return the example of a body in the document."""
    return document.operations[operation.name][2]["requestBody"]["content"]["application/json"]["example"]


@for_each(has_body)
def test_the_bodies_of_the_calls_and_of_the_document_are_allowed(scene: Scene, operation: Operation) -> None:
    document = scene.document
    schema = schema_of(document, operation)
    bodies = [example_of(document, operation), *map(scene.body, filter(_has_own_body, operation.successes))]
    for body in bodies:
        found = document.errors(schema, body)
        assert not found, f"{operation.name}: its schema excludes {short(body)}: {found}"
    assert operation.endpoint.body is not None
    operation.endpoint.body.load(bodies[0])


def _has_own_body(call: Call) -> bool:
    return call.body is not None
