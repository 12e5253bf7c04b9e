"""Entity tags: a write of a tagged resource compares If-Match, and a read compares If-None-Match."""

from __future__ import annotations

from dataclasses import replace

from app.api.errors import PreconditionFailed
from app.features import Call
from gatepost.testing.scenes import Scene, explain
from gatepost.testing.subjects import Operation, for_each
from gatepost.testing.subjects import pytest_generate_tests as pytest_generate_tests

CHANGES = ("PUT", "PATCH", "DELETE")


def changes_tagged(operation: Operation) -> bool:
    """Return whether an operation changes or deletes a resource whose GET has a strong entity tag."""
    return operation.method in CHANGES and operation.is_tagged


@for_each(changes_tagged)
def test_a_change_of_a_tagged_resource_declares_412(operation: Operation) -> None:
    is_declared = PreconditionFailed in operation.endpoint.problems
    assert is_declared, f"{operation.name} does not declare PreconditionFailed: a lost update is possible"


@for_each(lambda operation: PreconditionFailed in operation.endpoint.problems)
def test_only_a_tagged_resource_declares_412(operation: Operation) -> None:
    is_tagged = operation.is_tagged or operation.acts_on_tagged
    assert is_tagged, f"{operation.name} declares PreconditionFailed, but GET of its path has no strong tag"


@for_each(lambda operation: PreconditionFailed in operation.endpoint.problems and operation.acts_on_tagged)
def test_an_action_with_another_tag_changes_nothing(scene: Scene, operation: Operation) -> None:
    [call, *_] = operation.successes
    before = scene.rows()
    response = scene.send(call, headers={"If-Match": '"stale"'})
    assert response.status_code == 412, f"{operation.name} ignores If-Match: {explain(response)}"
    assert scene.rows() == before, f"{operation.name} changes rows, though If-Match does not hold"


@for_each(lambda operation: changes_tagged(operation) and operation.successes)
def test_a_change_with_another_tag_changes_nothing(scene: Scene, operation: Operation) -> None:
    call, tag = _call_of_an_existing_row(scene, operation)
    before = scene.rows()
    for stale in ('"stale"', f"W/{tag}", f'W/{tag}, "a"', "", '""', '"*"', tag.strip('"')):
        response = scene.send(call, headers={"If-Match": stale})
        assert response.status_code == 412, f"{operation.name} ignores If-Match: {stale}: {explain(response)}"
        assert scene.rows() == before, f"{operation.name} changes the row, though If-Match: {stale} does not hold"
    for current in (tag, f"W/{tag}", "*"):
        response = scene.send(call, headers={"If-None-Match": current} | _without_if_match(call))
        assert response.status_code == 412, f"{operation.name} ignores If-None-Match: {current}: {explain(response)}"
    response = scene.send(call, headers={"If-Match": tag})
    assert response.status_code == call.status, f"{operation.name} with the current tag: {explain(response)}"


def _call_of_an_existing_row(scene: Scene, operation: Operation) -> tuple[Call, str]:
    """Return a successful call of an operation whose resource exists, and the entity tag of the resource."""
    for call in operation.successes:
        found = scene.send(call, method="GET", body=None, headers=_without_if_match(call))
        if found.status_code == 200:
            return call, found.headers["ETag"]
    raise AssertionError(f"{operation.name} has no successful call of a resource that its user can read")


def _without_if_match(call: Call) -> dict[str, str]:
    return {"If-Match": "*"} if "If-Match" in call.headers else {}


@for_each(lambda operation: changes_tagged(operation) and operation.success and operation.method != "DELETE")
def test_the_tag_of_a_change_is_that_of_the_next_read(scene: Scene, operation: Operation) -> None:
    call, _ = _call_of_an_existing_row(scene, operation)
    changed = scene.send(call)
    read = scene.send(call, method="GET", body=None, headers=_without_if_match(call))
    message = f"{operation.name} answers with another ETag than the next GET, or with none"
    assert changed.headers.get("ETag") == read.headers["ETag"], message


@for_each(lambda o: o.method == "GET" and o.successes and o.endpoint.answer.has_etag("GET"))
def test_if_none_match_gives_304(scene: Scene, operation: Operation) -> None:
    first = scene.send(operation.success)
    tag = first.headers.get("ETag", "")
    assert tag.startswith("W/") == operation.endpoint.answer.is_list, f"{operation.name} has the ETag {tag!r}"
    again = scene.send(operation.success, headers={"If-None-Match": tag})
    assert (again.status_code, again.data) == (304, b""), f"{operation.name} with its own tag: {explain(again)}"
    assert again.headers["ETag"] == tag, f"{operation.name}: the ETag of the 304 differs"
    assert again.headers.get("Cache-Control") == first.headers.get("Cache-Control"), operation.name
    other = scene.send(operation.success, headers={"If-None-Match": '"other"'})
    assert other.status_code == 200, f"{operation.name} with another tag: {explain(other)}"


@for_each(lambda operation: operation.successes and not changes_tagged(operation))
def test_a_stale_if_match_is_refused(scene: Scene, operation: Operation) -> None:
    """Also on a resource without a tag: only `*` matches it (RFC 9110 section 13.1.1)."""
    call = replace(operation.success, headers={k: v for k, v in operation.success.headers.items() if k != "If-Match"})
    before = scene.rows()
    for tag in ('"stale"', 'W/"stale"', ""):
        response = scene.send(call, headers={"If-Match": tag})
        assert response.status_code == 412, f"{operation.name} ignores If-Match: {tag}: {explain(response)}"
        assert "Set-Cookie" not in response.headers, f"{operation.name} sets a cookie, though it answers 412"
        scene.document.check(response)
        if operation.method == "GET":
            head = scene.send(call, method="HEAD", headers={"If-Match": tag})
            assert (head.status_code, head.data) == (412, b""), f"HEAD of {operation.name}: {explain(head)}"
    assert scene.rows() == before, f"{operation.name} changes rows, though If-Match does not hold"
    # This would fail if one of the calls above had deleted, created or replaced something.
    response = scene.send(call, headers={"If-Match": "*"})
    assert response.status_code == call.status, f"{operation.name} with If-Match: *: {explain(response)}"
