"""Idempotency keys: a repeated request gets the first response again, also while it is still running."""

from __future__ import annotations

from typing import Any

from gatepost.testing.applications import replica
from gatepost.testing.checks.test_bodies import changed, members, schema_of
from gatepost.testing.races import race
from gatepost.testing.scenes import Scene, explain
from gatepost.testing.subjects import Operation, for_each
from gatepost.testing.subjects import pytest_generate_tests as pytest_generate_tests

KEY = {"Idempotency-Key": "conformance"}
CALLERS = 20


def is_idempotent(operation: Operation) -> bool:
    """Return whether an operation takes a key and has a call that succeeds."""
    return operation.endpoint.idempotent and bool(operation.successes)


@for_each(lambda o: o.method == "POST" and o.is_protected and o.endpoint.answer.status == 201)
def test_a_creation_takes_a_key(operation: Operation) -> None:
    message = f"{operation.name} creates a row and takes no Idempotency-Key: a repeated request creates two"
    assert operation.endpoint.idempotent or operation.name in operation.subject.examples.exceptions, message


@for_each(is_idempotent)
def test_an_invalid_key_is_422(scene: Scene, operation: Operation) -> None:
    for key in ("", "a b", "\u00e9", "k" * 256):
        response = scene.send(operation.success, headers={"Idempotency-Key": key})
        assert response.status_code == 422, f"{operation.name} with the key {key[:9]!r}: {explain(response)}"
        assert {*response.get_json()["errors"]} == {"Idempotency-Key"}, operation.name


@for_each(is_idempotent)
def test_a_key_gives_the_same_response_again(scene: Scene, operation: Operation) -> None:
    call = operation.success
    first = scene.send(call, headers=KEY)
    assert first.status_code == call.status, f"{operation.name}: {explain(first)}"
    rows = scene.rows()
    again = scene.send(call, headers=KEY)
    assert again.headers.get("Idempotency-Replayed") == "true", f"{operation.name} repeated: {explain(again)}"
    scene.document.check(again)
    for name in ("status_code", "data"):
        assert getattr(again, name) == getattr(first, name), f"{operation.name}: the {name} differs from the first"
    for name in ("ETag", "Location"):
        assert again.headers.get(name) == first.headers.get(name), f"{operation.name}: {name} differs from the first"
    assert scene.rows() == rows, f"{operation.name} changes rows when it is repeated with the same key"


@for_each(lambda operation: is_idempotent(operation) and operation.endpoint.body is not None)
def test_a_key_with_another_body_is_422(scene: Scene, operation: Operation) -> None:
    call = operation.success
    other = _other_body(scene, operation)
    assert scene.send(call, headers=KEY).status_code == call.status, operation.name
    rows = scene.rows()
    response = scene.send(call, headers=KEY, body=other)
    assert response.status_code == 422, f"{operation.name} with another body: {explain(response)}"
    assert response.get_json()["code"] == "idempotency_key_reused", f"{operation.name}: {explain(response)}"
    assert scene.rows() == rows, f"{operation.name} changes rows, though it answers 422"


def _other_body(scene: Scene, operation: Operation) -> Any:
    """Return another body that the schema allows."""
    document = scene.document
    schema, body = schema_of(document, operation), scene.body(operation.success) or {}
    hidden = {name for name, field in operation.endpoint.body.fields.items() if field.load_only}  # type: ignore[union-attr]
    for path in members(schema, document, body):
        part = body
        for name in path:
            part = part.get(name, "") if isinstance(part, dict) else part[name]
        values: tuple[Any, ...] = (f"x{part}", f"{part}x", part + 1 if isinstance(part, int) else 1, [], None)
        for value in values:
            other = changed(body, path, value)
            if other != body and path[0] not in hidden and not document.errors(schema, other):
                return other
    raise AssertionError(f"{operation.name}: found no other body that its schema allows")


@for_each(is_idempotent)
def test_many_with_one_key_at_once_have_one_effect(scene: Scene, operation: Operation, shared_url: str) -> None:
    call = operation.success
    before = scene.counts()
    assert scene.send(call, headers=KEY).status_code == call.status, operation.name
    effect = _difference(before, scene.counts())
    scene.restart()
    before = scene.counts()
    with replica(shared_url, db_pool_size=CALLERS, db_pool_timeout_seconds=60) as app:
        scene.is_changed = True
        replies = race(*[lambda: scene.send(call, headers=KEY, client=app.test_client())] * CALLERS)
    # A server without a free slot to hash a password answers 503, which has no effect.
    statuses = [reply.status_code for reply in replies if b'"overloaded"' not in reply.data]
    assert {*statuses} <= {call.status, 409}, f"{operation.name}, {CALLERS} at once: {statuses}"
    assert call.status in statuses, f"{operation.name}, {CALLERS} at once: {statuses}"
    found = _difference(before, scene.counts())
    assert found == effect, f"{operation.name}, {CALLERS} at once with one key: {found} instead of {effect} new rows"


def _difference(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {name: after[name] - before[name] for name in after}
