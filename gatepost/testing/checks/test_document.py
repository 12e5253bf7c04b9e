"""The OpenAPI document and the pages of problems: everything that a feature declares is in them, and valid."""

from __future__ import annotations

from functools import cache
from typing import Any

from openapi_spec_validator import OpenAPIV31SpecValidator

from gatepost.testing.openapi_document import Document
from gatepost.testing.scenes import explain
from gatepost.testing.subjects import Operation, Subject, unopened_app
from gatepost.testing.subjects import pytest_generate_tests as pytest_generate_tests


def test_the_document_is_valid(subject: Subject) -> None:
    document = unopened_document()
    errors = validity_errors()
    assert not errors, f"The OpenAPI document is invalid: {errors[:9]}"
    missing = {operation.name for operation in subject.operations} - document.operations.keys()
    assert not missing, f"{subject}: the OpenAPI document lacks {sorted(missing)}"


@cache
def unopened_document() -> Document:
    """Return the document, which needs no database."""
    response = unopened_app().test_client().get("/openapi.json")
    assert response.status_code == 200, f"/openapi.json is not generated: {explain(response)}"
    return Document(response.get_json())


@cache
def validity_errors() -> list[str]:
    """Return what is invalid in the document of all features."""
    errors: Any = OpenAPIV31SpecValidator(unopened_document().content).iter_errors()
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in errors]


def test_an_operation_is_described(operation: Operation) -> None:
    document = unopened_document()
    described = document.operations[operation.name][2]
    assert described["summary"], f"{operation.name} has no docstring"
    assert not described["summary"].endswith("."), f"{operation.name}: its summary ends with a full stop"
    assert "Access: " in described["description"], f"{operation.name}: its access policy is not described"
    assert "412" in described["responses"], f"{operation.name}: the document lacks 412"
    if operation.endpoint.body is not None:
        is_required = described["requestBody"]["required"]
        assert is_required is operation.endpoint.body_required, f"{operation.name}: requestBody.required is wrong"
    for parameter in map(document.resolve, described["parameters"]):
        schema, where = parameter["schema"], f"{operation.name}: parameter {parameter['name']}"
        assert parameter.get("description"), f"{where} has no description"
        values = [*schema.get("examples", []), *schema.get("enum", []), schema.get("default")]
        assert any(value is not None for value in values), f"{where} has no example: add metadata={{'example': ...}}"
        for value in schema.get("examples", []):
            assert not document.errors(schema, value), f"{where}: its example {value!r} does not conform to its schema"


def test_the_examples_of_responses_conform_to_their_schemas(operation: Operation) -> None:
    document = unopened_document()
    for status, response in document.operations[operation.name][2]["responses"].items():
        for content in document.resolve(response).get("content", {}).values():
            for example in _examples_in(document, content):
                found = document.errors(content["schema"], example)
                assert not found, f"{operation.name} {status}: the example does not conform to its schema: {found}"


def _examples_in(document: Document, content: dict[str, Any]) -> list[Any]:
    named = [document.resolve(example)["value"] for example in content.get("examples", {}).values()]
    return [content["example"], *named] if "example" in content else named


def test_each_problem_has_its_page(subject: Subject) -> None:
    own = set(subject.feature.problems)
    own |= {kind for operation in subject.operations for kind in operation.endpoint.problems}
    client = unopened_app().test_client()
    listed = {found["code"] for found in client.get("/problems").get_json()["problems"]}
    codes = unopened_document().content["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]
    for kind in own:
        response = client.get(f"/problems/{kind.code.replace('_', '-')}")
        assert response.status_code == 200, f"{kind.code} has no page: {explain(response)}"
        assert kind.code in listed, f"{kind.code} is not listed in /problems"
        assert kind.code in codes, f"{kind.code} is no code of the OpenAPI document"
        for text in (kind.when, kind.advice, kind.detail):
            assert text.endswith("."), f"{kind.code}: {text!r} is no sentence"
