"""Every operation of the OpenAPI document is called with a stale If-Match: a forgotten check is a lost update."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.openapi.document import make_document
from gatepost.testing.openapi_document import Document
from tests.conftest import Person, problem, settings_for
from tests.support.calls import CALLS, STALE, Call, SeedData

# Generating the document does not access the database.
DOCUMENT = Document(make_document(create_app(settings_for("sqlite:////nowhere/gatepost.db"))))
SUCCESSFUL = {call.operation: call for call in reversed(CALLS) if call.status < 300}


@pytest.fixture
def seed(app: Flask, client: FlaskClient, alice: Person, bob: Person, carol: Person) -> SeedData:
    """The users, Alice's session and her two posts."""
    return SeedData(app, client, alice, bob, carol)


def test_every_operation_declares_412() -> None:
    assert DOCUMENT.operations.keys() == SUCCESSFUL.keys()
    assert [name for name, (_, _, found) in DOCUMENT.operations.items() if "412" not in found["responses"]] == []


def test_operations_that_change_or_delete_a_tagged_resource_have_the_parameter() -> None:
    """The resource of these paths has a strong tag, which the response to GET shows."""
    tagged = {
        path
        for method, path, operation in DOCUMENT.operations.values()
        if method == "GET" and "200" in operation["responses"] and is_strongly_tagged(operation)
    }
    writes = {
        name
        for name, (method, path, _) in DOCUMENT.operations.items()
        if path in tagged and method in ("PUT", "PATCH", "DELETE")
    }
    assert writes >= {"replace_user", "update_user", "delete_user", "replace_post", "update_post", "delete_post"}
    having = {name for name, (_, _, operation) in DOCUMENT.operations.items() if takes_if_match(operation)}
    assert having == writes


def is_strongly_tagged(operation: dict[str, object]) -> bool:
    """Return whether the response has an ETag and is no list, whose tags are weak."""
    headers = DOCUMENT.resolve(operation["responses"]["200"])["headers"]  # type: ignore[index]
    return "ETag" in headers and "Link" not in headers


def takes_if_match(operation: dict[str, object]) -> bool:
    """Return whether If-Match is a parameter of the operation."""
    parameters: list[object] = operation["parameters"]  # type: ignore[assignment]
    return "If-Match" in [DOCUMENT.resolve(parameter)["name"] for parameter in parameters]


@pytest.mark.parametrize("call", [SUCCESSFUL[name] for name in DOCUMENT.operations], ids=lambda call: call.operation)
def test_a_stale_tag_gives_412_and_changes_nothing(seed: SeedData, call: Call) -> None:
    for header in (STALE, {"If-Match": 'W/"stale"'}, {"If-Match": ""}):
        response = seed.call(replace(call, headers={**call.headers, **header}))
        assert problem(response) == (412, "precondition_failed")
        DOCUMENT.check(response)
        assert "Set-Cookie" not in response.headers
    if call.method == "GET":
        head = seed.call(replace(call, method="HEAD", headers={**call.headers, **STALE}))
        assert (head.status_code, head.data) == (412, b"")
    # This would fail if one of the calls above had deleted, created or rotated something.
    response = seed.call(replace(call, headers={**call.headers, "If-Match": "*"}))
    assert response.status_code == call.status, response.text
