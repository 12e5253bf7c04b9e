"""Tests of the OpenAPI document as a whole. The conformance tests check the part of each feature and the responses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError, fields
from openapi_spec_validator import OpenAPIV31SpecValidator

from app import create_app
from app.api.access import ANYONE, FRESH
from app.api.endpoint import Endpoint
from app.api.fields import (
    OPTIONAL,
    Date,
    DateTime,
    InputSchema,
    Integer,
    Items,
    Number,
    OutputSchema,
    Text,
    text_pattern,
)
from app.api.responses import ok, written
from app.api.routing import Api
from app.openapi.document import endpoints_of
from gatepost.testing.openapi_document import Document
from tests.conftest import Person, problem, settings_for

# Generating the document does not access the database.
UNOPENED = "sqlite:////nowhere/gatepost.db"


@pytest.fixture(scope="module")
def offline() -> Flask:
    """An application without a database connection, which is enough to generate the document."""
    return create_app(settings_for(UNOPENED))


@pytest.fixture(scope="module")
def document(offline: Flask) -> Document:
    """The document as the application serves it."""
    response = offline.test_client().get("/openapi.json")
    assert response.status_code == 200
    return Document(response.get_json())


def routes(app: Flask) -> Iterator[tuple[str, str, Endpoint]]:
    """Yield method, path and endpoint of every route."""
    for rule in app.url_map.iter_rules():
        endpoint = app.view_functions[rule.endpoint]
        assert isinstance(endpoint, Endpoint), f"{rule} does not declare its access policy"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            yield method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), endpoint


def test_it_has_every_route_and_no_other(offline: Flask, document: Document) -> None:
    described = {(method, path) for method, path, _ in document.operations.values()}
    assert described == {(method, path) for method, path, _ in routes(offline)}


def test_every_operation_is_named_after_its_view(offline: Flask, document: Document) -> None:
    views = sorted(endpoint.view.__name__ for _, _, endpoint in routes(offline))
    assert sorted(document.operations) == views
    assert len(set(views)) == len(views)


def test_every_operation_has_a_summary_an_access_policy_and_a_tag(document: Document) -> None:
    tags = {tag["name"]: tag["description"] for tag in document.content["tags"]}
    assert all(tags.values())
    for name, (_, _, operation) in document.operations.items():
        assert operation["summary"], name
        assert not operation["summary"].endswith("."), name
        assert "Access: " in operation["description"], name
        assert {*operation["tags"]} <= {*tags}, name


def test_names_of_components_are_not_numbered(document: Document) -> None:
    # apispec appends a digit if two schemas have the same name.
    assert not [name for part in document.content["components"].values() for name in part if name[-1].isdigit()]


def test_readiness_has_the_same_members_with_200_and_503(
    client: FlaskClient, document: Document, monkeypatch: pytest.MonkeyPatch
) -> None:
    for found in (
        {"database": "unavailable", "migrations": "unknown", "maintenance": False, "status": "unready"},
        {"database": "ok", "migrations": "ok", "maintenance": True, "status": "unready", "redis": "unavailable"},
    ):
        monkeypatch.setattr("app.observability.health.check_readiness", lambda found=found: found)
        response = client.get("/health/ready")
        assert (response.status_code, response.get_json()) == (503, found)
        document.check(response)
    members = document.content["components"]["schemas"]["Readiness"]
    assert {*members["properties"]} - {*members["required"]} == {"redis"}


def test_a_replayed_response_conforms_to_the_document(alice: Person, document: Document) -> None:
    body = {"title": "Once", "content": "and only once"}
    for replayed in (None, "true"):
        response = alice.post("/posts", json=body, headers={"Idempotency-Key": "k"})
        assert response.headers.get("Idempotency-Replayed") == replayed
        document.check(response)
    other = alice.post("/posts", json={**body, "title": "Twice"}, headers={"Idempotency-Key": "k"})
    assert problem(other) == (422, "idempotency_key_reused")
    document.check(other)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"data": "{", "content_type": "application/json"}, (400, "malformed_request")),
        ({"data": "a" * 1_100_000, "content_type": "application/json"}, (413, "payload_too_large")),
        ({"data": "a=b", "content_type": "application/x-www-form-urlencoded"}, (415, "unsupported_media_type")),
    ],
)
def test_responses_to_unreadable_bodies_conform_to_the_document(
    alice: Person, document: Document, options: dict[str, Any], expected: tuple[int, str]
) -> None:
    for method, path in (("POST", "/posts"), ("PATCH", "/posts/1"), ("DELETE", "/posts/1"), ("POST", "/auth/refresh")):
        response = alice.call(method, path, **options)
        assert problem(response) == expected
        document.check(response)


def test_no_example_has_placeholders(document: Document) -> None:
    for name, (_, _, operation) in document.operations.items():
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for part in (*bodies, *map(document.resolve, operation["responses"].values())):
            for content in part.get("content", {}).values():
                example = content.get("example")
                assert "…" not in str(example), name
                assert {} not in (example.values() if isinstance(example, dict) else ()), name


def test_every_problem_of_an_operation_has_an_example(document: Document) -> None:
    for name, (_, _, operation) in document.operations.items():
        for status, reference in operation["responses"].items():
            content = document.resolve(reference).get("content", {}).get("application/problem+json")
            if content is None:
                assert int(status) < 400, (name, status)
                continue
            examples = {code: document.resolve(example)["value"] for code, example in content["examples"].items()}
            assert examples, (name, status)
            for code, example in examples.items():
                assert (example["code"], str(example["status"])) == (code, status), name
            wrong = {**next(iter(examples.values())), "code": "precondition_failed" if status != "412" else "conflict"}
            assert document.errors(content["schema"], wrong), (name, status)


# Characters at the edges of the rules about white space and control characters, besides all others.
EDGES = "\0\t\n\r\x0b\x1c \x7f\x85\u00a0\u3000\ufeffa\u00e9\U0001f511"
TEXTS = st.text(alphabet=st.sampled_from(EDGES) | st.characters(exclude_categories=["Cs"]))


def text_fields(app: Flask) -> Iterator[tuple[str, str, fields.Field[Any]]]:
    """Yield every text field of every body, with the name of its schema."""
    for _, endpoint in endpoints_of(app):
        for name, field in endpoint.body.fields.items() if endpoint.body else ():
            if isinstance(field, Text) and field.metadata.get("format") != "email":
                yield type(endpoint.body).__name__, name, field


def test_the_document_accepts_the_same_texts_as_the_fields(offline: Flask, document: Document) -> None:
    schemas = document.content["components"]["schemas"]
    # In Python $ also matches before a final newline. \Z means what $ means in JSON Schema.
    rules = [
        ((schema, name), field, {**rule, "pattern": rule["pattern"].replace("$", r"\Z")})
        for schema, name, field in text_fields(offline)
        for rule in [schemas[schema]["properties"][name]]
    ]
    assert len(rules) > 10

    @settings(max_examples=150, deadline=None)
    @given(text=TEXTS)
    def compare(text: str) -> None:
        for place, field, rule in rules:
            assert (not document.errors(rule, text)) == is_accepted(field, text), place

    compare()


@pytest.mark.parametrize("multiline", [False, True])
@pytest.mark.parametrize("blank", [False, True])
def test_patterns_accept_the_same_characters_as_the_fields(multiline: bool, blank: bool) -> None:
    field = Text(0, 9, multiline=multiline, blank=blank)
    pattern = re.compile(text_pattern(multiline=multiline, blank=blank).replace("$", r"\Z"))
    for character in map(chr, [*range(0xD800), *range(0xE000, 0x10000), 0x10000, 0x10FFFF]):
        for text in (character, f"a{character}", f"{character}a"):
            assert bool(pattern.search(text)) == is_accepted(field, text), ascii(text)


def is_accepted(field: fields.Field[Any], value: Any) -> bool:
    """Return whether a field accepts a value."""
    try:
        field.deserialize(value)
    except ValidationError:
        return False
    return True


def members_of(schema: Any) -> Iterator[tuple[str, Any]]:
    """Yield the keywords of a schema, and of all schemas in it, with their values. Examples are no schemas."""
    if isinstance(schema, list):
        for item in schema:
            yield from members_of(item)
    elif isinstance(schema, dict):
        for keyword, value in schema.items():
            yield keyword, value
            if keyword in ("properties", "schemas"):
                yield from members_of(list(value.values()))
            elif keyword not in ("example", "examples", "enum"):
                yield from members_of(value)


def test_code_generators_find_only_keywords_that_they_understand(document: Document) -> None:
    """They omit what they cannot read: a bare `const`, and intersections of schemas with the same members."""
    keywords = {keyword for keyword, _ in members_of(document.content)}
    assert {"properties", "oneOf", "enum"} <= keywords
    assert not keywords & {"const", "allOf", "prefixItems", "patternProperties", "if", "not", "unevaluatedProperties"}
    for keyword, value in members_of(document.content):
        assert keyword != "type" or isinstance(value, str) or (len(value) == 2 and value[1] == "null")


def test_no_member_of_a_body_has_a_default(document: Document) -> None:
    """Generated types make a member with a default compulsory. The description has it instead."""
    schemas = document.content["components"]["schemas"]
    assert "default" not in dict(members_of({"schemas": schemas}))
    assert "The default is `false`." in schemas["Login"]["properties"]["cookie"]["description"]


def test_each_kind_of_problem_has_a_schema_with_its_status_and_codes(document: Document) -> None:
    schemas = document.content["components"]["schemas"]
    kinds = {name: schema for name, schema in schemas.items() if name.endswith("Problem") and name != "Problem"}
    assert kinds["NotFoundProblem"]["properties"]["status"] == {"type": "integer", "enum": [404]}
    assert kinds["UnauthorizedProblem"]["properties"]["code"]["enum"] == [
        *("authentication_required", "token_expired", "token_invalid", "token_revoked"),
    ]
    for name, schema in kinds.items():
        assert {*schema["required"]} == {*schema["properties"]} >= {*schemas["Problem"]["properties"]}, name
    for name, (_, _, operation) in document.operations.items():
        for status, response in operation["responses"].items():
            problems = document.resolve(response).get("content", {}).get("application/problem+json", {"schema": {}})
            for choice in problems["schema"].get("oneOf", [problems["schema"]] if problems["schema"] else []):
                found = document.resolve(choice)["properties"]["status"]
                assert found == {"type": "integer", "enum": [int(status)]}, (name, status)


@pytest.mark.parametrize(
    ("pagination", "is_allowed"),
    [
        ({"next_cursor": "a", "prev_cursor": None}, True),
        ({"page": 1, "pages": 1, "total": 1}, True),
        ({"page": 1, "pages": 500, "total": 10_000, "total_capped": True}, True),
        ({"page": 1, "pages": 500, "total": 10_000, "total_capped": False}, False),
        ({"page": 1, "pages": 501, "total": 10_001, "total_capped": True}, False),
        ({"next_cursor": "a", "prev_cursor": None, "total_capped": True}, False),
        ({"total_capped": True, "next_cursor": "a"}, False),
        ({}, False),
        ({"next_cursor": "a"}, False),
        ({"page": 1, "pages": 1}, False),
        ({"next_cursor": None, "prev_cursor": None, "page": 1, "pages": 1, "total": 1}, False),
        ({"next_cursor": None, "prev_cursor": None, "page": 1}, False),
    ],
)
def test_a_page_has_either_cursors_or_numbers(document: Document, pagination: dict[str, Any], is_allowed: bool) -> None:
    schema = {"$ref": "#/components/schemas/Pagination"}
    assert (not document.errors(schema, {"limit": 20, **pagination})) is is_allowed


def test_lists_take_cursors_and_pages(document: Document) -> None:
    names = {parameter.get("name") for parameter in document.operations["list_posts"][2]["parameters"]}
    assert {"limit", "cursor", "page", "sort", "status", "author_id", "created_after", "created_before"} <= names
    limit = document.operations["list_posts"][2]["parameters"][0]
    assert limit["schema"] == {"type": "integer", "default": 20, "minimum": 1, "maximum": 100}


def test_ids_are_64_bit_integers(document: Document) -> None:
    for _, path, operation in document.operations.values():
        given_ids = {parameter["name"]: parameter for parameter in operation["parameters"] if "in" in parameter}
        for name in re.findall(r"\{(\w+_id)\}", path):
            schema = given_ids[name]["schema"]
            assert (schema["type"], schema["minimum"], schema["maximum"]) == ("integer", 1, 2**63 - 1)


@pytest.mark.parametrize(
    ("operation", "security"),
    [
        ("log_in", []),
        ("get_health", []),
        ("get_post", [{"accessToken": []}, {}]),
        ("create_post", [{"accessToken": []}]),
        ("create_user", [{"accessToken": []}]),
        ("export_user", [{"accessToken": []}]),
        ("refresh", [{"refreshToken": []}, {"refreshCookie": []}, {}]),
        ("log_out", [{"accessToken": []}, {"refreshToken": []}, {"refreshCookie": []}, {}]),
    ],
)
def test_each_operation_has_its_security_requirements(document: Document, operation: str, security: list[Any]) -> None:
    assert document.operations[operation][2]["security"] == security


def test_published_at_can_be_null(document: Document) -> None:
    published_at = document.content["components"]["schemas"]["Post"]["properties"]["published_at"]
    assert (published_at["type"], published_at["format"]) == (["string", "null"], "date-time")


def test_it_can_be_cached_and_revalidated(offline: Flask) -> None:
    client = offline.test_client()
    first = client.get("/openapi.json")
    assert first.headers["Cache-Control"] == "no-cache"
    again = client.get("/openapi.json", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert again.headers["Cache-Control"] == "no-cache"
    assert client.get("/openapi.json", headers={"If-None-Match": '"other"'}).status_code == 200


def test_it_is_generated_once_at_the_first_request(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def make(app: Flask) -> dict[str, Any]:
        made.append(app)
        return {"openapi": "3.1.0"}

    monkeypatch.setattr("app.openapi.make_document", make)
    client = create_app(settings_for(UNOPENED)).test_client()
    assert not made
    assert client.get("/openapi.json").data == client.get("/openapi.json").data
    assert len(made) == 1


def test_with_a_prefix_the_server_is_the_prefix(document: Document) -> None:
    app = create_app(settings_for(UNOPENED, service_prefix="/example"))
    client = app.test_client()
    assert client.get("/openapi.json").status_code == 404
    prefixed = client.get("/example/openapi.json").get_json()
    assert prefixed["servers"] == [{"url": "/example"}]
    assert document.content["servers"] == [{"url": "/"}]
    assert prefixed["paths"].keys() == document.content["paths"].keys()
    assert prefixed["components"]["examples"]["not_found"]["value"]["type"] == "/example/problems/not-found"


def test_it_has_the_routes_of_an_external_feature() -> None:
    app = create_app(settings_for(UNOPENED))
    cats = Api("cats", __name__)
    shapes = (Schema.from_dict({"lives": fields.Integer(), "tags": fields.List(fields.String())}, name="Cat"),)
    dogs = Schema.from_dict({"barks": fields.Boolean()}, name="Dog")

    @cats.operation("GET", "/cats/<name>", access=ANYONE, answer=ok(shapes[0](), dogs()))
    def get_cat(name: str) -> dict[str, Any]:
        """Read a cat. Or a dog."""
        return {"lives": 9}

    @cats.operation("GET", "/cats/<name>/secrets", access=FRESH, answer=ok(dogs()))
    def get_secrets(name: str) -> dict[str, Any]:
        """Read the secrets."""
        return {"barks": False}

    app.register_blueprint(cats)
    document = Document(app.test_client().get("/openapi.json").get_json())
    assert [error.message for error in OpenAPIV31SpecValidator(document.content).iter_errors()] == []
    operation = document.operations["get_cat"][2]
    assert (operation["summary"], operation["tags"]) == ("Read a cat", ["operations"])
    content = operation["responses"]["200"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/CatOrDog"}
    assert not document.errors({"$ref": "#/components/schemas/Cat"}, content["example"])
    codes = document.operations["get_secrets"][2]["responses"]["401"]["content"]["application/problem+json"]["examples"]
    assert "fresh_token_required" in codes
    document.check(app.test_client().get("/cats/tom"))


class Money(OutputSchema):
    """An amount."""

    amount = Number(0.5, 9.5)
    currency = fields.String(allow_none=True)


class Move(OutputSchema):
    """A schema with names and types that are none of Python's."""

    from_ = fields.String(data_key="from")
    hidden_note = fields.String(data_key="note", metadata={OPTIONAL: True})
    value = fields.Raw(metadata={"type": ["string", "integer"]})
    count = Integer(5, 10, allow_none=True)
    day = Date(allow_none=True)
    ends_at = DateTime(allow_none=True)
    price = fields.Nested(Money, metadata={"description": "What it costs."})
    refund = fields.Nested(Money, allow_none=True)
    parts = Items(Money, 2, 5)


class NewMove(InputSchema):
    """A body with such members."""

    from_ = Text(1, 9, data_key="from", required=True)
    value = fields.Raw(metadata={"type": ["integer", "string"]}, allow_none=True, load_default=None)
    limit = Number(-0.5, 0.5, allow_none=True)
    note = Text(0, 9, allow_none=True)
    code = Text(1, 9, pattern="[A-Z]+", metadata={"example": "A"})


def keyword_names() -> Schema:
    """Return a schema whose members have the names of Python's keywords."""
    return OutputSchema.from_dict({name: fields.String() for name in ("from", "None", "class")}, name="Keywords")()


@pytest.fixture(scope="module")
def moves() -> tuple[Flask, Document]:
    """An application with routes for these schemas, and its document."""
    app = create_app(settings_for(UNOPENED))
    api = Api("moves", __name__)
    move = Move()

    @api.operation("GET", "/moves/<name>", access=ANYONE, answer=ok(move))
    def get_move(name: str) -> Any:
        """Read a move."""
        price = SimpleNamespace(amount=1.5, currency=None)
        return SimpleNamespace(
            from_="a",
            hidden_note="b",
            value=7 if name == "number" else "seven",
            count=None,
            day=None,
            ends_at=None,
            price=price,
            refund=None,
            parts=[price, price],
        )

    @api.operation("GET", "/words", access=ANYONE, answer=ok(keyword_names()))
    def get_words() -> Any:
        """Read words."""
        return SimpleNamespace(**{"from": "a", "None": "b", "class": "c"})

    @api.operation("POST", "/moves", access=ANYONE, body=NewMove(), answer=written(move))
    def create_move(body: dict[str, Any]) -> Any:
        """Return a move."""
        return SimpleNamespace(**body)

    app.register_blueprint(api)
    response = app.test_client().get("/openapi.json")
    assert response.status_code == 200
    return app, Document(response.get_json())


def test_any_name_and_type_of_a_member_can_be_described_and_sent(moves: tuple[Flask, Document]) -> None:
    app, document = moves
    assert [error.message for error in OpenAPIV31SpecValidator(document.content).iter_errors()] == []
    for path in ("/moves/number", "/moves/text", "/words"):
        response = app.test_client().get(path)
        assert response.status_code == 200
        document.check(response)
    assert app.test_client().get("/words").get_json() == {"from": "a", "None": "b", "class": "c"}
    move = app.test_client().get("/moves/number").get_json()
    assert (move["from"], move["note"], move["value"]) == ("a", "b", 7)
    assert "allOf" not in dict(members_of(document.content))


def test_members_that_are_renamed_are_required_by_their_names(moves: tuple[Flask, Document]) -> None:
    schemas = moves[1].content["components"]["schemas"]
    assert {*schemas["Move"]["properties"]} - {*schemas["Move"]["required"]} == {"note"}
    assert schemas["NewMove"]["required"] == ["from"]
    assert schemas["Move"]["properties"]["parts"] == {
        "type": "array",
        "items": {"$ref": "#/components/schemas/Money"},
        "minItems": 2,
        "maxItems": 5,
    }
    assert schemas["NewMove"]["properties"]["limit"] == {
        "type": ["number", "null"],
        "minimum": -0.5,
        "maximum": 0.5,
    }
    assert schemas["NewMove"]["properties"]["code"]["pattern"] == "^(?:[A-Z]+)$"


def test_examples_are_made_for_members_of_any_type(moves: tuple[Flask, Document]) -> None:
    _, document = moves
    for _, _, operation in document.operations.values():
        described = [operation["requestBody"]] if "requestBody" in operation else []
        described += [document.resolve(response) for response in operation["responses"].values()]
        for content in (part.get("content", {}).get("application/json", {}) for part in described):
            if "example" in content:
                assert document.errors(content["schema"], content["example"]) == [], operation["operationId"]


def test_errors_have_the_names_of_the_members_as_sent(moves: tuple[Flask, Document]) -> None:
    app, _ = moves
    response = app.test_client().post("/moves", json={"from": "", "from_": "a", "limit": 1})
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"] == {
        "from": ["Must not be empty."],
        "from_": ["Unknown field."],
        "limit": ["Must be -0.5 to 0.5."],
    }
