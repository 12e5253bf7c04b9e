"""Rules for all routes, tested on every route of the URL map, so that new routes are included."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from app import create_app
from app.api.endpoint import Endpoint
from app.api.fields import Integer
from tests.conftest import PASSWORD, Person, problem, settings_for
from tests.support.calls import CALLS, CONTEXT, KEY, MISSING_ID, POST, PROFILE, Call, SeedData

# Reading the URL map opens no database connection.
ROUTES = create_app(settings_for("sqlite:////nowhere/gatepost.db"))
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND")
PROTECTED = ("access", "fresh", "admin")


def endpoint_of(rule: Rule) -> Endpoint:
    """Return the endpoint of a rule."""
    endpoint = ROUTES.view_functions[rule.endpoint]
    assert isinstance(endpoint, Endpoint), f"{rule} does not declare an access policy"
    return endpoint


def url(rule: Rule, *, row: Any = MISSING_ID) -> str:
    """Return a URL of the rule, with `row` in place of every id."""
    return re.sub(r"<id:\w+>", str(row), rule.rule).replace("<name>", "not-found")


def operations(*methods: str) -> Iterator[tuple[str, Rule, Endpoint]]:
    """Yield every route with one of the methods, once per method."""
    for rule in ROUTES.url_map.iter_rules():
        for method in sorted((rule.methods or set()) & {*methods}):
            yield method, rule, endpoint_of(rule)


def each(*methods: str, protected: bool = False) -> pytest.MarkDecorator:
    """Run a test once for each route that has one of these methods."""
    found = [
        pytest.param(method, rule, id=f"{method} {rule.rule}")
        for method, rule, endpoint in operations(*methods)
        if not protected or endpoint.access.level in PROTECTED
    ]
    assert found
    return pytest.mark.parametrize(("method", "rule"), found)


def paths() -> dict[str, set[str]]:
    """Return the methods that each path supports."""
    offered: dict[str, set[str]] = {}
    for rule in ROUTES.url_map.iter_rules():
        offered.setdefault(url(rule), set()).update(rule.methods or ())
    return offered


@pytest.fixture
def seed(app: Flask, client: FlaskClient, alice: Person, bob: Person, carol: Person) -> SeedData:
    """The users, Alice's session and her two posts."""
    return SeedData(app, client, alice, bob, carol)


def test_every_route_declares_an_access_policy() -> None:
    for rule in ROUTES.url_map.iter_rules():
        endpoint = endpoint_of(rule)
        assert endpoint.access.describes
        assert endpoint.view.__doc__, rule


def test_every_write_is_protected_or_takes_a_credential() -> None:
    unprotected = {
        e.view.__name__ for _, _, e in operations("POST", "PUT", "PATCH", "DELETE") if e.access.level not in PROTECTED
    }
    assert unprotected == {"register", "log_in", "refresh", "log_out"}


@each("GET", "POST", "PUT", "PATCH", "DELETE", protected=True)
def test_an_anonymous_call_does_not_disclose_whether_a_resource_exists(seed: SeedData, method: str, rule: Rule) -> None:
    body: dict[str, Any] = {"data": b"{", "content_type": "text/plain"} if method != "GET" else {}
    for row in (seed.names["alice"], seed.names["post"], seed.names["session"], MISSING_ID, 0, 2**63, "x", "%00"):
        for query in ("", "?surprise=1"):
            response = seed.client.open(url(rule, row=row) + query, method=method, **body)
            assert problem(response) == (401, "authentication_required")
            assert response.headers["WWW-Authenticate"] == 'Bearer realm="gatepost"'


@each("GET", "POST", "PUT", "PATCH", "DELETE", protected=True)
def test_only_an_access_token_opens_a_protected_route(seed: SeedData, method: str, rule: Rule) -> None:
    for header, code in (
        ("Basic YTpi", "authentication_required"),
        ("Bearer rubbish", "token_invalid"),
        (f"Bearer {seed.alice.refresh_token}", "token_invalid"),
        (f"Bearer {seed.alice.access_token}x", "token_invalid"),
    ):
        response = seed.client.open(url(rule, row=1), method=method, headers={"Authorization": header})
        assert problem(response) == (401, code)
        assert ('error="invalid_token"' in response.headers["WWW-Authenticate"]) == (code == "token_invalid")


@each("GET", "POST", "PUT", "PATCH", "DELETE", protected=True)
def test_the_token_of_an_ended_session_is_refused(seed: SeedData, method: str, rule: Rule) -> None:
    assert seed.carol.post("/auth/logout").status_code == 204
    response = seed.client.open(url(rule, row=1), method=method, headers=seed.carol.headers)
    assert problem(response) == (401, "token_revoked")


@pytest.mark.parametrize("path", sorted(paths()))
def test_an_unsupported_method_is_405(client: FlaskClient, path: str) -> None:
    offered = paths()[path]
    for method in METHODS:
        if method in offered:
            continue
        response = client.open(path, method=method)
        assert response.status_code == 405, method
        if method != "HEAD":
            assert problem(response) == (405, "method_not_allowed")
        assert response.headers["Allow"] == ", ".join(sorted(offered))


@pytest.mark.parametrize("path", sorted(paths()))
def test_options_list_the_supported_methods(client: FlaskClient, path: str) -> None:
    response = client.options(path)
    assert (response.status_code, response.data) == (204, b"")
    assert "Content-Type" not in response.headers
    assert {*response.headers["Allow"].split(", ")} == paths()[path]
    assert {"OPTIONS"} <= paths()[path]
    assert ("HEAD" in paths()[path]) == ("GET" in paths()[path])


GETS = [call for call in CALLS if call.method == "GET"]


@pytest.mark.parametrize("call", GETS, ids=str)
def test_head_is_get_without_the_body(seed: SeedData, call: Call) -> None:
    same = {**call.headers, "X-Request-ID": "the-same"}
    get = seed.call(Call(call.operation, call.status, "GET", call.path, call.user, headers=same))
    head = seed.call(Call(call.operation, call.status, "HEAD", call.path, call.user, headers=same))
    assert head.data == b""
    assert head.status_code == get.status_code == call.status
    # The metrics change with each request, and so may their length.
    moves = {"Content-Length"} if call.operation == "get_metrics" and call.status == 200 else set()
    assert {*headers_of(head)} == {*headers_of(get)}
    assert {*headers_of(head).items()} - {*headers_of(get).items()} <= {(name, head.headers[name]) for name in moves}


def headers_of(response: TestResponse) -> dict[str, str]:
    """Return the headers of a response without Date."""
    return {name: value for name, value in response.headers.items() if name != "Date"}


def test_head_is_tested_on_every_get() -> None:
    assert {call.operation for call in GETS} == {e.view.__name__ for _, _, e in operations("GET")}


@each("GET", "POST", "PUT", "PATCH", "DELETE")
def test_an_unknown_query_parameter_is_refused(carol: Person, method: str, rule: Rule) -> None:
    for query in ("surprise=1", "surprise", "%73urprise=", "Surprise=1&surprise=2", "limit%00=1&surprise="):
        response = carol.client.open(f"{url(rule)}?{query}", method=method, headers=carol.headers)
        assert problem(response) == (422, "validation_error")
        assert "surprise" in response.get_json()["errors"]


@each("GET", "POST", "PUT", "PATCH", "DELETE")
def test_a_repeated_query_parameter_is_refused(carol: Person, method: str, rule: Rule) -> None:
    endpoint = endpoint_of(rule)
    for name in endpoint.query.fields if endpoint.query else ("surprise",):
        response = carol.client.open(f"{url(rule)}?{name}=1&{name}=1", method=method, headers=carol.headers)
        assert problem(response) == (422, "validation_error")
        assert response.get_json()["errors"] == {name: ["Given more than once."]}


ERIN = {"email": "erin@example.com", "name": "Erin", "password": PASSWORD}
CHANGE = {"current_password": PASSWORD, "new_password": "staple of a new battery"}
TITLE = {"title": "Changed"}
# For each write: its path, a valid body, and the status of the response to an anonymous caller, to Bob (a stranger), to
# Alice (the owner) and to Carol (the administrator). A write on the caller's own account succeeds for Bob, too.
WRITES: dict[str, tuple[str, dict[str, Any], tuple[int, int, int, int]]] = {
    "register": ("/auth/register", ERIN, (201, 201, 201, 201)),
    "log_in": ("/auth/login", {"email": "alice@example.com", "password": PASSWORD}, (200, 200, 200, 200)),
    # The first of these two accepts a refresh token only, the second an access token too.
    "refresh": ("/auth/refresh", {}, (401, 401, 401, 401)),
    "log_out": ("/auth/logout", {}, (401, 204, 204, 204)),
    "end_session": ("/auth/sessions/{session}", {}, (401, 404, 204, 404)),
    "end_sessions": ("/auth/sessions", {}, (401, 204, 204, 204)),
    "change_password": ("/auth/password", CHANGE, (401, 204, 204, 204)),
    "reauthenticate": ("/auth/reauthenticate", {"password": PASSWORD}, (401, 200, 200, 200)),
    "end_user_sessions": ("/users/{alice}/sessions", {}, (401, 403, 403, 204)),
    "end_user_session": ("/users/{alice}/sessions/{session}", {}, (401, 403, 403, 204)),
    "create_user": ("/users", ERIN, (401, 403, 403, 201)),
    "replace_user": ("/users/{alice}", PROFILE, (401, 403, 200, 200)),
    "update_user": ("/users/{alice}", {"bio": "Changed"}, (401, 403, 200, 200)),
    "delete_user": ("/users/{alice}", {}, (401, 403, 204, 204)),
    "create_post": ("/posts", POST, (401, 201, 201, 201)),
    "replace_post": ("/posts/{post}", {**POST, **TITLE}, (401, 403, 200, 200)),
    "update_post": ("/posts/{post}", TITLE, (401, 403, 200, 200)),
    "delete_post": ("/posts/{post}", {}, (401, 403, 204, 204)),
    "update_context": ("/service-context", CONTEXT, (401, 403, 403, 200)),
}
CALLERS = ("", "bob", "alice", "carol")


def writing(name: str) -> tuple[str, Endpoint]:
    """Return the method and the endpoint of the write with this name."""
    [(method, endpoint)] = [
        (method, endpoint)
        for method, _, endpoint in operations("POST", "PUT", "PATCH", "DELETE")
        if endpoint.view.__name__ == name
    ]
    return method, endpoint


def test_every_write_is_in_the_matrix() -> None:
    assert {*WRITES} == {e.view.__name__ for _, _, e in operations("POST", "PUT", "PATCH", "DELETE")}


@pytest.mark.parametrize("name", WRITES)
def test_a_refused_write_changes_nothing(seed: SeedData, name: str) -> None:
    before = stored(seed)
    path, body, statuses = WRITES[name]
    method, _ = writing(name)
    for user, status in zip(CALLERS, statuses, strict=True):
        if status >= 400:
            assert seed.call(Call(name, status, method, f"/api/v1{path}", user, body)).status_code == status
        # A valid body with an unknown field.
        assert seed.call(Call(name, 422, method, f"/api/v1{path}", user, {**body, "surprise": 1})).status_code >= 400
    assert stored(seed) == before


def stored(seed: SeedData) -> list[Any]:
    """Return all that the administrator can read, with the audit log, and Alice's drafts and sessions."""
    seen = [
        seed.carol.get("/users"),
        seed.carol.get("/posts"),
        seed.alice.get("/posts?status=draft"),
        seed.alice.get("/auth/sessions"),
        seed.bob.get("/auth/sessions"),
        seed.carol.get("/audit"),
    ]
    assert {response.status_code for response in seen} == {200}
    return [*(response.get_json()["items"] for response in seen), seed.carol.get("/service-context").get_json()]


INVALID: dict[str, tuple[dict[str, Any], int]] = {
    "unknown field": ({"json": {"surprise": 1}}, 422),
    "not an object": ({"json": [1]}, 422),
    "a string": ({"json": "title"}, 422),
    "null": ({"data": "null", "content_type": "application/json"}, 422),
    "not JSON": ({"data": "{", "content_type": "application/json"}, 400),
    "not UTF-8": ({"data": b'{"a": "\xff"}', "content_type": "application/json"}, 400),
    "a name twice": ({"data": '{"a": 1, "a": 1}', "content_type": "application/json"}, 400),
    "NaN": ({"data": '{"a": NaN}', "content_type": "application/json"}, 400),
    "too deep": ({"data": "[" * 5000 + "]" * 5000, "content_type": "application/json"}, 400),
    "a form": ({"data": {"title": "x"}}, 415),
    "compressed": ({"json": {}, "headers": {"Content-Encoding": "gzip"}}, 415),
    "too large": ({"data": b" " * 1_048_577, "content_type": "application/json"}, 413),
}


@pytest.mark.parametrize("name", WRITES)
def test_an_invalid_body_is_refused(seed: SeedData, name: str) -> None:
    path, _, statuses = WRITES[name]
    caller = seed.alice if statuses[2] != 403 else seed.carol
    for kind, (options, expected) in INVALID.items():
        response = caller.call(writing(name)[0], path.format(**seed.names), **options)
        assert problem(response)[0] == expected, kind


@pytest.mark.parametrize("name", [name for name in WRITES if writing(name)[1].body_required and writing(name)[1].body])
def test_each_missing_required_field_is_reported(seed: SeedData, name: str) -> None:
    path, _, statuses = WRITES[name]
    method, endpoint = writing(name)
    caller = seed.alice if statuses[2] != 403 else seed.carol
    required = {field for field, kind in endpoint.body.fields.items() if kind.required} if endpoint.body else set()
    response = caller.call(method, path.format(**seed.names), json={})
    assert response.status_code == (422 if required else 200)
    if required:
        assert response.get_json()["errors"].keys() == required
    missing = caller.call(method, path.format(**seed.names), data="", content_type="application/json")
    assert problem(missing)[0] == 400


@pytest.mark.parametrize("name", [name for name in WRITES if writing(name)[1].body])
def test_no_field_accepts_another_type(seed: SeedData, name: str) -> None:
    path, body, statuses = WRITES[name]
    method, endpoint = writing(name)
    assert endpoint.body is not None
    caller = seed.alice if statuses[2] != 403 else seed.carol
    for field in endpoint.body.fields:
        for value in (None, 1, 1.0, [], {}, ["x"], "\x00", "\ud800", {"a": "b"}):
            if type(value) is int and isinstance(endpoint.body.fields[field], Integer):
                continue
            response = caller.call(method, path.format(**seed.names), json={**body, field: value})
            assert problem(response) == (422, "validation_error"), (field, value)
            assert response.get_json()["errors"].keys() == {field}


@each("POST", "PUT", "PATCH", "DELETE", "GET")
def test_an_idempotency_key_is_validated_on_idempotent_routes(carol: Person, method: str, rule: Rule) -> None:
    endpoint = endpoint_of(rule)
    if not endpoint.idempotent:
        assert method != "POST" or endpoint.answer.status != 201 or endpoint.access.level == "nothing"
        return
    body = WRITES[endpoint.view.__name__][1]
    for key in ("", "a b", "\u00e9", "k" * 256):
        response = carol.client.post(url(rule), json=body, headers={**carol.headers, "Idempotency-Key": key})
        assert response.get_json()["errors"].keys() == {"Idempotency-Key"}
    assert carol.client.post(url(rule), json=body, headers={**carol.headers, **KEY}).status_code == 201


@pytest.mark.parametrize(
    "path",
    [
        "//api/v1/posts",
        "///api/v1/posts",
        "//health",
        "//metrics",
        "//openapi.json",
        "/api//v1/posts",
        "/api/v1//posts",
        "/api/v1/posts/",
        "/./api/v1/posts",
        "/x/../api/v1/posts",
        "/api/./v1/posts",
        "/\\api/v1/posts",
        "/API/v1/posts",
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_another_spelling_of_a_path_is_a_foreign_path(path: str, method: str) -> None:
    client = ROUTES.test_client()
    # As servers pass paths on; the test client would resolve some.
    response = client.open(method=method, environ_overrides={"PATH_INFO": path})
    assert response.status_code == 404
    if method != "HEAD":
        assert problem(response) == (404, "not_found")


def test_a_double_slash_before_the_prefix_is_a_foreign_path() -> None:
    client = create_app(settings_for("sqlite:////nowhere/gatepost.db", service_prefix="/example")).test_client()
    assert client.get("/example/health").status_code == 200
    for path in ("//example/health", "/example//health", "//health"):
        assert problem_at(client, path) == 404


def problem_at(client: FlaskClient, path: str) -> int:
    """Return the status of a GET, after checking that it is a problem document."""
    response = client.get(environ_overrides={"PATH_INFO": path})
    assert response.mimetype == "application/problem+json"
    return response.status_code


def test_a_double_slash_is_counted_by_the_rate_limit() -> None:
    settings = settings_for("sqlite:////nowhere/gatepost.db", ratelimit_enabled=True, ratelimit_default="2 per minute")
    client = create_app(settings).test_client()
    statuses = [client.get(environ_overrides={"PATH_INFO": "//health"}).status_code for _ in range(3)]
    assert statuses == [404, 404, 429]
