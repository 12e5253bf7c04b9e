"""The security headers of every response: of the application on each route, and of nginx."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app import create_app
from app.api.endpoint import Endpoint
from app.api.middleware.headers import SECURITY_HEADERS, STRICT_TRANSPORT
from app.openapi import problem_pages, views
from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.gatepost import GatepostServer
from tests.conftest import API, Person, settings_for

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "https://app.example.com"
POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
HSTS = "Strict-Transport-Security"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
# Reading the URL map opens no database connection.
ROUTES = create_app(settings_for("sqlite:////nowhere/gatepost.db", features=()))


def paths() -> Iterator[str]:
    """Yield a path of every rule, with an id, an invalid id, a problem or a file in place of its arguments."""
    for rule in ROUTES.url_map.iter_rules():
        for value in ("1", "x", "not-found", "page.js"):
            yield re.sub(r"<[^>]+>", value, rule.rule)


PATHS = sorted({*paths(), "/nowhere", API, API + "/nowhere", "/%00", "/" + "a" * 300})


def policy_of(response: TestResponse) -> str:
    """Return the Content-Security-Policy that a response must have: HTML pages have one of their own."""
    if response.status_code in (200, 304) and response.request.path.startswith("/docs"):
        return views.POLICY
    return problem_pages.POLICY if response.mimetype == "text/html" else POLICY


def check(response: TestResponse, *, is_tls: bool = False) -> None:
    """Check the headers that every response must have."""
    label = f"{response.request.method} {response.request.path} {response.status_code}"
    assert response.headers.getlist("X-Content-Type-Options") == ["nosniff"], label
    assert response.headers.getlist("Content-Security-Policy") == [policy_of(response)], label
    assert response.headers.getlist("Referrer-Policy") == ["no-referrer"], label
    assert response.headers.getlist(HSTS) == (["max-age=31536000"] if is_tls else []), label
    assert len(response.headers.getlist("Cache-Control")) == 1, label
    assert not {"Server", "X-Powered-By"} & {*response.headers.keys()}, label
    if response.status_code >= 400 and response.request.path != "/health/ready":
        assert response.headers["Cache-Control"] == "no-store", label


def test_the_paths_include_every_route() -> None:
    adapter = ROUTES.url_map.bind("localhost")
    met = {adapter.match(path, method=m)[0] for path in PATHS for m in METHODS if adapter.test(path, m)}
    assert met == set(ROUTES.view_functions)


def test_every_route_sends_them_with_any_method(client: FlaskClient) -> None:
    for path in PATHS:
        for method in METHODS:
            check(client.open(path, method=method))
            preflight = {"Origin": ORIGIN, "Access-Control-Request-Method": method}
            check(client.options(path, headers=preflight))
            check(client.open(path, method=method, headers={"Authorization": "Bearer x", "Cookie": "\xff"}))


def test_every_route_sends_them_to_a_signed_in_caller_over_tls(carol: Person) -> None:
    """Responses to signed-in callers are not stored by any cache."""
    for path in PATHS:
        response = carol.client.get(path, headers=carol.headers, base_url="https://localhost")
        check(response, is_tls=True)
        if path.startswith(API):
            assert response.headers["Cache-Control"] == "no-store", path


def test_only_public_responses_can_be_stored() -> None:
    storable = {
        endpoint.view.__name__
        for endpoint in ROUTES.view_functions.values()
        if isinstance(endpoint, Endpoint) and endpoint.cache_controls != ("no-store",)
    }
    page = {"get_docs", "get_docs_file"}
    page |= {"get_service", "get_problems", "get_problem"}
    public = page | {"get_openapi", "list_posts", "get_post", "list_posts_of", "get_user", "get_key_set"}
    assert storable <= public


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b" " * 1_048_577, 413), (b'{"a": 1}', 422)], ids=["bad", "large", "invalid"]
)
def test_refusals_of_bodies_have_them(client: FlaskClient, body: bytes, status: int) -> None:
    for base_url in ("http://localhost", "https://localhost"):
        options: dict[str, Any] = {"data": body, "content_type": "application/json", "base_url": base_url}
        response = client.post(f"{API}/auth/login", **options)
        assert response.status_code == status
        check(response, is_tls=base_url.startswith("https"))


def test_failures_have_them(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.posts.service.list_posts", lambda *_: 1 / 0)
    response = client.get(f"{API}/posts", headers={"Origin": ORIGIN})
    assert response.status_code == 500
    check(response)


def test_responses_with_tokens_have_them(client: FlaskClient, alice: Person) -> None:
    for body in ({"refresh_token": alice.refresh_token}, {"refresh_token": alice.refresh_token, "cookie": True}):
        response = client.post(f"{API}/auth/refresh", json=body)
        assert (response.status_code, response.headers["Cache-Control"]) == (200, "no-store")
        check(response)


def test_a_page_may_have_a_policy_of_its_own() -> None:
    """The page at /docs needs one, because it has scripts."""
    app = create_app(settings_for("sqlite:////nowhere/gatepost.db"))
    policy = "default-src 'self'"
    app.add_url_rule("/page", "page", lambda: Response("x", headers={"Content-Security-Policy": policy}))
    response = app.test_client().get("/page")
    assert response.headers.getlist("Content-Security-Policy") == [policy]
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@cache
def behind(hops: int) -> Flask:
    """Return an application behind so many proxies."""
    return create_app(settings_for("sqlite:////nowhere/gatepost.db", trusted_proxies=hops))


@pytest.mark.parametrize("hops", [0, 1, 2])
@pytest.mark.parametrize(
    "forwarded", [None, "https", "http", "HTTPS", "https, http", "http, https", "http,https,http", "", ",", "https,x,y"]
)
def test_x_forwarded_proto_is_trusted_as_far_as_the_proxies_are(hops: int, forwarded: str | None) -> None:
    """Strict-Transport-Security is sent if the outermost trusted proxy received the request over TLS."""
    sent = {} if forwarded is None else {"X-Forwarded-Proto": forwarded}
    answer = behind(hops).test_client().get("/health", headers=sent)
    trusted = (forwarded or "").split(",")
    is_tls = 0 < hops <= len(trusted) and trusted[-hops].strip() == "https"
    assert (HSTS in answer.headers) == is_tls


def test_a_real_server_sends_them_and_names_no_version(shared_server: GatepostServer) -> None:
    connection = http.client.HTTPConnection(LOOPBACK, shared_server.port, timeout=20)
    connection.request("GET", "/health")
    headers = connection.getresponse().headers
    connection.close()
    for name, value in SECURITY_HEADERS.items():
        assert headers[name] == value
    assert headers["Server"] in ("gunicorn", "granian")
    assert headers["Cache-Control"] == "no-store"
    assert HSTS not in headers


def test_nginx_sends_the_same() -> None:
    """In its own redirects and errors, by its configuration; tests/stack tests a running nginx."""
    configuration = (ROOT / "nginx.conf").read_text()
    for name, value in SECURITY_HEADERS.items():
        said = re.findall(rf'add_header {name} "?(.*?)"? always;', configuration)
        assert said == [value] * 2
    assert STRICT_TRANSPORT[HSTS] in configuration
    assert f"proxy_hide_header {HSTS};" in configuration
