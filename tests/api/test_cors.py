"""CORS: what pages of other origins may do, as the headers of the application's responses say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.api.middleware.cors import MAX_REPORTED
from tests.conftest import API, Person, problem, settings_for
from tests.support.loglines import logged

ORIGIN = "https://app.example.com"
EXPOSED = {
    *("ETag", "Link", "Location", "Retry-After", "X-Request-ID", "Idempotency-Replayed"),
    *("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"),
}
Open = Callable[..., FlaskClient]


@pytest.fixture
def allowing() -> Open:
    """Return a function that makes a client of an application with these origins, without a database."""

    def make(*origins: str, **changes: Any) -> FlaskClient:
        settings = settings_for("sqlite:////nowhere/gatepost.db", cors_origins=origins, **changes)
        return create_app(settings).test_client()

    return make


@pytest.mark.parametrize("origin", [ORIGIN, "http://localhost:5173"])
def test_an_allowed_origin_may_read(client: FlaskClient, origin: str) -> None:
    response = client.get(API + "/posts", headers={"Origin": origin})
    assert response.headers.getlist("Access-Control-Allow-Origin") == [origin]
    assert set(response.headers["Access-Control-Expose-Headers"].split(", ")) == EXPOSED
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in response.vary


@pytest.mark.parametrize(
    "origin",
    [
        *("null", "", "*", "https://evil.example.com", "http://app.example.com", "http://localhost"),
        *("http://localhost:51730", f"{ORIGIN}:8443", f"{ORIGIN}:443", f"{ORIGIN}/", f"{ORIGIN}/x", f"{ORIGIN}."),
        *(f" {ORIGIN}.", f"{ORIGIN}%0d%0a", f"{ORIGIN}.evil.example", f"{ORIGIN}@evil.example"),
        *(f"{ORIGIN}`.evil.example", f"{ORIGIN}{{.evil.example", f"{ORIGIN}_.evil.example", f"{ORIGIN}\t.x"),
        *(f"{ORIGIN}, https://evil.example", f"{ORIGIN} https://evil.example", "https://evilapp.example.com"),
        *("https://evil.example/https://app.example.com", "https://appXexample.com", "https://a.app.example.com"),
        *("https://example.com", "https://user@app.example.com", "https://APP.example.com", ORIGIN.upper(), "file://"),
        *("chrome-extension://abc", "https://äpp.example.com", "https://.*", "https://"),
    ],
    ids=ascii,
)
def test_another_origin_may_not(client: FlaskClient, origin: str) -> None:
    calls = (("GET", "/posts", 200), ("OPTIONS", "/posts", 204), ("GET", "/auth/me", 401), ("GET", "/nowhere", 404))
    for method, path, status in calls:
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        response = client.open(API + path, method=method, headers=headers)
        assert response.status_code == status
        assert not [name for name, _ in response.headers if name.startswith("Access-Control")]
        assert "Origin" in response.vary


def test_every_response_varies_by_origin(client: FlaskClient) -> None:
    """Otherwise a cache could give a response without CORS headers to a page that needs them."""
    for path in (API + "/posts", API + "/posts/999", "/health", "/nowhere"):
        response = client.get(path)
        assert "Access-Control-Allow-Origin" not in response.headers
        assert "Origin" in response.vary
    assert "Authorization" in client.get(API + "/posts").vary


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/posts/999", 404),
        ("GET", "/nowhere", 404),
        ("DELETE", "/posts", 405),
        ("POST", "/posts", 401),
        ("POST", "/auth/login", 400),
        ("POST", "/auth/refresh", 401),
        ("GET", "/posts?limit=0", 422),
        ("GET", "/posts?x=%FF", 400),
    ],
)
def test_errors_can_be_read_too(client: FlaskClient, method: str, path: str, status: int) -> None:
    response = client.open(API + path, method=method, headers={"Origin": ORIGIN})
    assert problem(response)[0] == status
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert set(response.headers["Access-Control-Expose-Headers"].split(", ")) == EXPOSED
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in response.vary


def test_failures_can_be_read_too(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("app.posts.service.list_posts", fail)
    response = client.get(API + "/posts", headers={"Origin": ORIGIN})
    assert problem(response) == (500, "internal_error")
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN


def test_a_304_and_a_204_can_be_read_too(client: FlaskClient, alice: Person) -> None:
    tag = client.get(API + "/posts").headers["ETag"]
    unchanged = client.get(API + "/posts", headers={"Origin": ORIGIN, "If-None-Match": tag})
    gone = alice.delete(f"/users/{alice.id}", headers={"Origin": ORIGIN})
    for response, status in ((unchanged, 304), (gone, 204)):
        assert (response.status_code, response.headers["Access-Control-Allow-Origin"]) == (status, ORIGIN)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/posts", "/users/1", "/auth/login", "/auth/refresh", "/auth/logout"])
def test_a_preflight_needs_no_token_and_is_cached_for_ten_minutes(client: FlaskClient, method: str, path: str) -> None:
    listed = ["authorization", "content-type", "idempotency-key", "if-match", "x-csrf-token"]
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": ", ".join([*listed, "x-evil"]),
    }
    response = client.options(API + path, headers=headers)
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert method in response.headers["Access-Control-Allow-Methods"].split(", ")
    allowed = response.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert allowed == listed
    assert response.headers["Access-Control-Max-Age"] == "600"
    assert response.headers["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize("name", ["traceparent", "tracestate", "baggage", "sentry-trace", "X-CSRF-TOKEN", "If-Match"])
def test_a_page_may_send_the_headers_of_the_contract(client: FlaskClient, name: str) -> None:
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": f"content-type,{name.lower()}",
    }
    allowed = client.options(API + "/auth/login", headers=headers).headers["Access-Control-Allow-Headers"]
    assert name.lower() in allowed.lower().split(", ")


def test_further_headers_can_be_allowed(allowing: Open) -> None:
    client = allowing(ORIGIN, cors_allow_headers=("X-Client-Version", "x_tenant"))
    headers = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-client-version, x_tenant, x-client-versions, if-match",
    }
    response = client.options(API + "/posts", headers=headers)
    assert response.headers["Access-Control-Allow-Headers"].lower() == "if-match, x-client-version, x_tenant"


LOCAL = [
    "http://localhost",
    "http://localhost:3000",
    "https://localhost:65535",
    "http://127.0.0.1:8080",
    "https://127.0.0.1",
    "http://[::1]:5173",
    "https://[::1]",
]


@pytest.mark.parametrize("origin", LOCAL)
def test_every_origin_on_this_machine_is_allowed_in_development_only(allowing: Open, origin: str) -> None:
    for environment, is_allowed in (("development", True), ("testing", False), ("production", False)):
        response = allowing(app_env=environment).get("/health", headers={"Origin": origin})
        expected = [origin] if is_allowed else []
        assert response.headers.getlist("Access-Control-Allow-Origin") == expected
        assert response.headers.getlist("Access-Control-Allow-Credentials") == (["true"] if is_allowed else [])


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://localhost.example.com",
        "http://localhost:3000.example.com",
        "http://example.com/http://localhost",
        "http://127.0.0.10",
        "http://127x0x0x1",
        "http://[::1].example.com",
        "http://::1",
        "http://localhost:123456",
        "http://localhost:",
        "http://LOCALHOST",
        "file://localhost",
        "http://192.168.0.1",
        "http://user@localhost",
        "http://localhost\n",
    ],
    ids=ascii,
)
def test_other_origins_are_not_allowed_in_development(allowing: Open, origin: str) -> None:
    environ = {"HTTP_ORIGIN": origin}
    response = allowing(app_env="development").get("/health", environ_overrides=environ)
    assert "Access-Control-Allow-Origin" not in response.headers


# The log


def reported(client: FlaskClient, *origins: str, **options: Any) -> list[tuple[str, str]]:
    """Return the level and the origin of each line about origins that these requests cause."""
    with logged() as log:
        for origin in origins:
            client.get("/health", environ_overrides={"HTTP_ORIGIN": origin}, **options)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    return [(line["level"], line["origin"]) for line in lines if line["event"] == "origin is not in CORS_ORIGINS"]


def test_an_origin_that_is_not_listed_is_logged_once(allowing: Open) -> None:
    client = allowing(ORIGIN)
    evil, other = "https://evil.example", "https://app.example.com:8443"
    assert reported(client, evil, ORIGIN, evil, other, "null") == [("warning", o) for o in (evil, other, "null")]
    assert reported(client, evil, other, "null") == []


def test_the_service_s_own_origin_is_not_logged(allowing: Open) -> None:
    """Browsers send it with a POST from /docs."""
    client = allowing(ORIGIN)
    assert reported(client, "https://api.example.com:8443", base_url="https://api.example.com:8443") == []
    assert reported(client, "") == []


def test_the_number_and_length_of_logged_origins_is_limited(allowing: Open) -> None:
    client = allowing(ORIGIN)
    found = reported(client, "https://" + "x" * 5000, *(f"https://{number}.example" for number in range(150)))
    assert len(found) == MAX_REPORTED
    assert len(found[0][1]) == 200


def test_a_preflight_ignores_accept(client: FlaskClient) -> None:
    headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT", "Accept": "text/html"}
    assert client.options(API + "/posts/1", headers=headers).status_code == 204


def test_a_single_origin_is_matched_like_several(allowing: Open) -> None:
    client = allowing(ORIGIN)
    assert client.get("/health", headers={"Origin": ORIGIN}).headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "Access-Control-Allow-Origin" not in client.get("/health", headers={"Origin": "https://b.example"}).headers
    assert "Origin" in client.get("/health").vary


def test_an_address_in_brackets_is_no_pattern(allowing: Open) -> None:
    client = allowing("http://[::1]:3000")
    for origin, is_allowed in (("http://[::1]:3000", True), ("http://1:3000", False), ("http://::3000", False)):
        response = client.get("/health", headers={"Origin": origin})
        assert ("Access-Control-Allow-Origin" in response.headers) == is_allowed


def test_a_dot_in_an_origin_matches_a_dot_only(allowing: Open) -> None:
    response = allowing("https://a.b").get("/health", headers={"Origin": "https://axb"})
    assert "Access-Control-Allow-Origin" not in response.headers


def test_without_origins_no_origin_is_allowed(allowing: Open) -> None:
    response = allowing().get("/health", headers={"Origin": ORIGIN})
    assert "Access-Control-Allow-Origin" not in response.headers


def test_the_star_of_development_allows_all_but_null(allowing: Open) -> None:
    client = allowing("*")
    response = client.get("/health", headers={"Origin": "http://any.example"})
    assert response.headers["Access-Control-Allow-Origin"] == "http://any.example"
    assert "Access-Control-Allow-Credentials" not in response.headers
    assert "Access-Control-Allow-Origin" not in client.get("/health", headers={"Origin": "null"}).headers
    listed = allowing("*", ORIGIN).get("/health", headers={"Origin": ORIGIN})
    assert listed.headers["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize("path", [f"{API}/nope", "/nope", f"{API}/posts/1"])
def test_a_preflight_succeeds_on_every_path(client: FlaskClient, path: str) -> None:
    """The script can then read the 404 of the request itself; a failed preflight would be an opaque error."""
    headers = {"Origin": "https://app.example.com", "Access-Control-Request-Method": "PATCH"}
    response = client.options(path, headers=headers)
    assert (response.status_code, response.data) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert "PATCH" in response.headers["Access-Control-Allow-Methods"]
    assert "Content-Type" not in response.headers
