"""Each operation is called with each status that its route declares, and answers as the OpenAPI document says."""

from __future__ import annotations

from werkzeug.test import TestResponse

from app.api.errors import Problem
from gatepost.testing.cast import problem
from gatepost.testing.openapi_document import sent_path
from gatepost.testing.scenes import Scene, explain
from gatepost.testing.subjects import PROTECTED, WRITES, Example, Operation, Subject, for_each
from gatepost.testing.subjects import pytest_generate_tests as pytest_generate_tests

# The metrics change with each request, and so may their length.
UNSTABLE = {"get_metrics": {"Content-Length"}}


def is_reachable(kind: type[Problem]) -> bool:
    """Return whether a call has to show a problem.

    Those left out need time, load or an outage, or are checked on each operation: missing credentials, stale tags.
    """
    return kind.status < 500 and kind.status not in (401, 412, 429)


def test_every_call_is_of_an_operation(subject: Subject) -> None:
    known = {operation.name for operation in subject.operations}
    others = [str(call) for call in subject.examples.calls if call.operation not in known]
    assert not others, f"{subject}: these calls name no view of the feature: {others}. It has {sorted(known)}."


def test_each_operation_has_a_call_for_each_status(operation: Operation) -> None:
    called = {call.status for call in operation.calls}
    answer = operation.endpoint.answer
    missing = {status for status in (answer.status, *answer.also) if status < 500} - called
    missing |= {kind.status for kind in operation.endpoint.problems if is_reachable(kind)} - called
    assert not missing, f"{operation.name} has no call that answers {sorted(missing)}"


@for_each(lambda operation: operation.calls and any(map(is_reachable, operation.endpoint.problems)))
def test_each_declared_problem_occurs(scene: Scene, operation: Operation) -> None:
    declared = {kind.code: kind.status for kind in operation.endpoint.problems if is_reachable(kind)}
    seen = set()
    for call in operation.calls:
        if call.status in declared.values():
            seen.add((scene.send(call).get_json(silent=True) or {}).get("code"))
    missing = declared.keys() - seen
    assert not missing, f"{operation.name} declares {sorted(missing)}, which no call gets"


def test_a_call_answers_its_status_as_the_document_says(scene: Scene, example: Example) -> None:
    call, document = example.call, scene.document
    before = scene.rows()
    response = scene.send(call)
    assert response.status_code == call.status, f"{call.operation}: {call.status} was expected, but {explain(response)}"
    path = sent_path(response.request)
    described = document.find_operation(response.request.method, path)
    assert described is document.operations[call.operation][2], f"{path} is not a path of {call.operation}"
    document.check(response)
    if call.status >= 400:
        problem(response)
        assert scene.rows() == before, f"{call.operation} changes rows, though it answers {call.status}"


@for_each(lambda example: example.operation.method == "GET")
def test_head_is_get_without_the_body(scene: Scene, example: Example) -> None:
    same = {"X-Request-ID": "the-same"}
    get, head = (scene.send(example.call, method=method, headers=same) for method in ("GET", "HEAD"))
    assert head.data == b"", f"HEAD of {example.operation.name} has a body"
    assert head.status_code == get.status_code, f"HEAD of {example.operation.name}: {explain(head)}"
    unstable = UNSTABLE.get(example.operation.name, set())
    assert _headers(head, unstable) == _headers(get, unstable), f"{example.operation.name}: HEAD has other headers"


def _headers(response: TestResponse, unstable: set[str]) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name not in {"Date"} | unstable}


@for_each(lambda operation: operation.successes and operation.arguments and operation.is_protected)
def test_a_row_is_asked_for_by_another_user(operation: Operation) -> None:
    """The author of the examples has to say what a stranger gets."""
    users = {call.by for call in operation.calls if call.by}
    assert len(users) > 1, f"{operation.name} is called by {operation.success.by} alone: add a call by another user"


@for_each(lambda operation: operation.method in WRITES and operation.endpoint.access.level not in (*PROTECTED, "token"))
def test_a_write_is_protected(operation: Operation) -> None:
    is_excepted = operation.name in operation.subject.examples.exceptions
    assert is_excepted, f"{operation.name} writes without credentials: its access is {operation.endpoint.access.level}"


def test_every_route_declares_its_access(subject: Subject) -> None:
    assert not subject.undeclared, f"{subject}: these routes have no access policy: {subject.undeclared}"
    silent = [operation.name for operation in subject.operations if not operation.endpoint.view.__doc__]
    assert not silent, f"{subject}: these views have no docstring: {silent}"
    for operation in subject.operations:
        assert operation.endpoint.access.describes, f"{operation.name}: its access policy is not described"
