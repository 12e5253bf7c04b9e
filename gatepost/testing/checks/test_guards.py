"""What every route refuses: missing, wrong and ended credentials, unknown queries, other methods, impossible ids."""

from __future__ import annotations

import re
from typing import Any

from gatepost.testing.cast import problem
from gatepost.testing.scenes import MISSING_ID, Scene, explain
from gatepost.testing.subjects import Operation, Subject, for_each, unopened_app
from gatepost.testing.subjects import pytest_generate_tests as pytest_generate_tests

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND")
HOSTILE_PATHS = ("%00", "a%00b", "%ED%A0%80", "%E2%80%AE", "%25", "_", "'%22--", "%0A", "x" * 10**6)
IMPOSSIBLE_IDS = ("0", "-1", "x", "1.0", "01", "%00", "%D9%A1", str(2**63), str(2**64), "9" * 400)


def is_protected(operation: Operation) -> bool:
    """Return whether a route needs an access token."""
    return operation.is_protected


def paths(operation: Operation, row: str) -> str:
    """Return the path of an operation with `row` in place of every argument."""
    return operation.path(**dict.fromkeys(operation.arguments, row))


@for_each(is_protected)
def test_an_anonymous_call_is_401(scene: Scene, operation: Operation) -> None:
    """It must not disclose whether a resource exists, so credentials are checked before all else."""
    body: dict[str, Any] = {"data": b"{", "content_type": "text/plain"} if operation.method != "GET" else {}
    for row in (str(scene.alice.id), "1", str(MISSING_ID), "0", str(2**63), "x", "%00"):
        for query in ("", "?surprise=1"):
            response = scene.client.open(paths(operation, row) + query, method=operation.method, **body)
            assert response.status_code == 401, f"{operation.name} without credentials: {explain(response)}"
            assert problem(response)[1] == "authentication_required", operation.name
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="gatepost"', operation.name


@for_each(lambda operation: operation.endpoint.access.finds_caller)
def test_only_a_valid_access_token_is_accepted(scene: Scene, operation: Operation) -> None:
    path = paths(operation, "1")
    for header, code in (
        ("Basic YTpi", "authentication_required"),
        ("Bearer rubbish", "token_invalid"),
        (f"Bearer {scene.alice.refresh_token}", "token_invalid"),
        (f"Bearer {scene.alice.access_token}x", "token_invalid"),
    ):
        response = scene.client.open(path, method=operation.method, headers={"Authorization": header})
        assert response.status_code == 401, f"{operation.name} with {header.split('.')[0]}: {explain(response)}"
        assert problem(response)[1] == code, operation.name
        has_error = 'error="invalid_token"' in response.headers["WWW-Authenticate"]
        assert has_error == (code == "token_invalid"), operation.name


@for_each(lambda operation: operation.endpoint.access.finds_caller)
def test_the_token_of_an_ended_session_is_401(scene: Scene, operation: Operation) -> None:
    carol = scene.people["carol"]
    assert carol.post("/auth/logout").status_code == 204
    response = scene.client.open(paths(operation, "1"), method=operation.method, headers=carol.headers)
    assert response.status_code == 401, f"{operation.name} with the token of an ended session: {explain(response)}"
    assert problem(response)[1] == "token_revoked", operation.name


@for_each(lambda operation: operation.endpoint.access.level in ("fresh", "admin"))
def test_a_weaker_token_is_refused(scene: Scene, operation: Operation) -> None:
    level = operation.endpoint.access.level
    headers = scene.alice.headers if level == "admin" else scene.refreshed_headers()
    response = scene.client.open(paths(operation, "1"), method=operation.method, headers=headers)
    expected = (403, "forbidden") if level == "admin" else (401, "fresh_token_required")
    assert problem(response) == expected, f"{operation.name} needs {level}: {explain(response)}"


def test_an_unknown_query_parameter_is_422(scene: Scene, operation: Operation) -> None:
    carol = scene.people["carol"]
    for query in ("surprise=1", "surprise", "%73urprise=", "Surprise=1&surprise=2", "limit%00=1&surprise="):
        path = f"{paths(operation, '1')}?{query}"
        response = scene.client.open(path, method=operation.method, headers=carol.headers)
        assert response.status_code == 422, f"{operation.name} with ?{query}: {explain(response)}"
        assert "surprise" in response.get_json()["errors"], f"{operation.name} with ?{query}: {explain(response)}"


def test_a_repeated_query_parameter_is_422(scene: Scene, operation: Operation) -> None:
    carol, query = scene.people["carol"], operation.endpoint.query
    for name in query.fields if query else ("surprise",):
        path = f"{paths(operation, '1')}?{name}=1&{name}=1"
        response = scene.client.open(path, method=operation.method, headers=carol.headers)
        assert response.status_code == 422, f"{operation.name} with {name} twice: {explain(response)}"
        assert response.get_json()["errors"] == {name: ["Given more than once."]}, operation.name


@for_each(lambda operation: operation.successes and "id" in operation.arguments.values())
def test_an_impossible_id_is_404(scene: Scene, operation: Operation) -> None:
    call = operation.success
    arguments = _arguments(operation, scene.path(call))
    for name, converter in operation.arguments.items():
        for row in (*IMPOSSIBLE_IDS, str(MISSING_ID)) if converter == "id" else ():
            path = operation.path(**arguments | {name: row})
            response = scene.send(call, path=path, headers={"If-Match": "*"})
            # 403 if the caller may not know more about others than that they are others.
            message = f"{operation.name} with {name}={row[:40]}: {explain(response)}"
            assert response.status_code in (403, 404), message


@for_each(lambda operation: operation.successes and operation.arguments)
def test_hostile_text_in_the_path_is_no_500(scene: Scene, operation: Operation) -> None:
    call = operation.success
    arguments = _arguments(operation, scene.path(call))
    for name in operation.arguments:
        for text in HOSTILE_PATHS:
            response = scene.send(call, path=operation.path(**arguments | {name: text}), headers={"If-Match": "*"})
            assert response.status_code < 500, f"{operation.name} with {name}={text[:40]}: {explain(response)}"


def _arguments(operation: Operation, path: str) -> dict[str, str]:
    """Return the arguments in a path, as they are written in it."""
    parts = [
        ("(.+)" if part.startswith("<path:") else "([^/]+)") if part.startswith("<") else re.escape(part)
        for part in operation.rule.rule.split("/")
    ]
    found = re.fullmatch("/".join(parts), path.partition("?")[0])
    assert found is not None, f"{path} is not a path of {operation.name}"
    return dict(zip(operation.arguments, found.groups(), strict=True))


def test_other_methods_are_405_and_options_lists_them(scene: Scene, subject: Subject) -> None:
    offered: dict[str, set[str]] = {}
    for rule in unopened_app().url_map.iter_rules():
        offered.setdefault(rule.rule, set()).update(rule.methods or ())
    for template, operation in {operation.rule.rule: operation for operation in subject.operations}.items():
        path, allowed = paths(operation, "1"), offered[template]
        for method in {*METHODS} - allowed:
            response = scene.client.open(path, method=method)
            assert response.status_code == 405, f"{method} is no method of {template}: {explain(response)}"
            assert response.headers["Allow"] == ", ".join(sorted(allowed)), template
        response = scene.client.options(path)
        assert (response.status_code, response.data) == (204, b""), f"OPTIONS: {explain(response)}"
        assert "Content-Type" not in response.headers, template
        assert {*response.headers["Allow"].split(", ")} == allowed, template
        assert ("HEAD" in allowed) == ("GET" in allowed), template
