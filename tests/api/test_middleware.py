"""The middleware: request ids, the rate limit per address, Accept, and the headers of every response."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app.api.middleware.accept import parse_accept
from app.components import components_of
from gatepost.testing.applications import clients
from tests.conftest import API, Person, problem

NEW_ID = re.compile(r"[0-9a-f]{32}")
Limited = Callable[[str], FlaskClient]

ANSWERS = [
    ("GET", API + "/posts", 200),
    ("HEAD", API + "/posts", 200),
    ("OPTIONS", API + "/posts", 204),
    ("GET", API + "/posts?limit=0", 422),
    ("GET", API + "/posts?a=%FF", 400),
    ("POST", API + "/posts", 401),
    ("GET", API + "/posts/999", 404),
    ("PUT", API + "/posts", 405),
    ("POST", API + "/auth/login", 400),
    ("GET", "/health", 200),
    ("GET", "/health/ready", 200),
    ("GET", "/problems/not-found", 200),
    ("GET", "/nowhere", 404),
    ("TRACE", "/nowhere", 404),
    ("BREW", API + "/posts", 405),
]


# Request ids


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
def test_every_response_has_the_common_headers(client: FlaskClient, method: str, path: str, status: int) -> None:
    response = client.open(path, method=method)
    assert response.status_code == status
    assert NEW_ID.fullmatch(response.headers["X-Request-ID"])
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Cache-Control" in response.headers
    assert "Server" not in response.headers
    assert not re.search(r"(?i)werkzeug|flask|python|gunicorn", str(response.headers))


@pytest.mark.parametrize("sent", ["a", "x" * 128, "8e03978e-40d5-43dd-bc93-6894a57f9324", "A.b_c-1", "...", "-"])
def test_a_valid_request_id_is_returned(client: FlaskClient, sent: str) -> None:
    for path, status in (("/health", 200), ("/nowhere", 404)):
        response = client.get(path, headers={"X-Request-ID": sent})
        assert (response.status_code, response.headers.getlist("X-Request-ID")) == (status, [sent])


@pytest.mark.parametrize(
    "sent",
    [
        *("", " ", "x" * 129, "a b", "a,b", "a;b", "a/b", 'a"b', "'", "{}", "<script>", "../../etc/passwd", "{{7*7}}"),
        *("a\nSet-Cookie: x=y", "a\r\nX: y", "a\x00", "a\n", "é", "\u0661", "${jndi:ldap://x}", "' OR 1=1 --"),
        "%0d%0aSet-Cookie:%20a=b",
    ],
    ids=ascii,
)
def test_an_invalid_request_id_is_replaced(client: FlaskClient, sent: str) -> None:
    # As a server without validation would pass it on.
    environ = {"HTTP_X_REQUEST_ID": sent.encode().decode("latin-1")}
    for path in ("/health", "/nowhere"):
        response = client.get(path, environ_overrides=environ)
        assert NEW_ID.fullmatch(response.headers["X-Request-ID"])


def test_request_ids_are_unique(client: FlaskClient) -> None:
    assert len({client.get("/health").headers["X-Request-ID"] for _ in range(10)}) == 10


# Caches


@pytest.mark.parametrize("path", ["/posts", "/posts?page=1", "/users/1", "/users/1/posts"])
def test_anonymous_reads_may_be_stored_and_are_revalidated(client: FlaskClient, alice: Person, path: str) -> None:
    response = client.get(API + path)
    assert response.headers["Cache-Control"] == "no-cache"
    assert set(response.vary) >= {"Authorization", "Origin"}


# Accept


@pytest.mark.parametrize(
    "accept",
    [
        None,
        "",
        "*/*",
        "application/json",
        "application/*",
        "application/problem+json",
        "APPLICATION/JSON",
        "application/json;q=0.1, text/html",
        "text/html, */*;q=0.01",
        "application/json, application/problem+json",
        "application/json; charset=utf-8",
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "nonsense",
        ";;;,,,",
        # The default of Java's HttpURLConnection, of several versions.
        "text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2",
        "text/html, image/gif, image/jpeg, */*; q=0.2",
        "text/html, */*; q=.2",
        "text/html, application/json;q=1.",
        "text/html, application/json ; q = 0.00001",
        "text/html, *",
        "application/json;q=0, */*;q=0, application/problem+json",
        "*/*;q=0, application/json",
        "application/*;q=0, application/json;q=.1",
        "application/json;q=0, application/json",
        "application/problem+json;q=0, */*",
        "APPLICATION/JSON ;Q=0.5;Charset=UTF-8;;",
        # A range that is not understood may allow JSON.
        "text/html, application/json;q=high",
        "text/html;q=2",
        "text/html;q=-1",
        "text/html;q=",
        "text/html;q",
        "text/html;q=1;q=0",
        "text/html;q=1e-1",
        "text/html;q=\u0661",
        'text/html;title="a, b"',
        "text/html, json",
        "text/html, application/*+json",
        "text/html, */json",
        "text/html; a b",
        "text/html text/plain",
        "text/html, \x00",
    ],
    ids=ascii,
)
def test_a_client_that_accepts_json_gets_it(client: FlaskClient, accept: str | None) -> None:
    environ = {} if accept is None else {"HTTP_ACCEPT": accept.encode().decode("latin-1")}
    assert client.get(API + "/posts", environ_overrides=environ).status_code == 200


@pytest.mark.parametrize(
    "accept",
    [
        *("text/html", "text/*", "image/png, text/plain", "application/xml", "application/json;q=0"),
        "application/json;q=0, text/html",
        "application/json;q=.0, text/html;q=.2",
        "application/json; q=0.000, */*",
        "application/*;q=0, */*",
        "*/*;q=0",
        "*;q=0",
        "TEXT/HTML;LEVEL=1",
        "text/html;level=1;q=.5 , , image/png ;",
        "application/vnd.api+json",
    ],
)
@pytest.mark.parametrize("path", ["/posts", "/nowhere"])
def test_a_client_that_accepts_no_json_gets_a_406(client: FlaskClient, accept: str, path: str) -> None:
    response = client.get(API + path, headers={"Accept": accept})
    assert problem(response) == (406, "not_acceptable")


@pytest.mark.parametrize("parameter", ["; ", ";\t; ", ";q", ";a= ", " ", "; q=1", ";;", "*", ", "])
@pytest.mark.parametrize("end", ["@", ";q=@", ""])
def test_a_long_accept_header_takes_no_time(parameter: str, end: str) -> None:
    """With 26 parameters, a pattern that backtracks takes ten seconds and fails; with 3,000 it would never end."""
    for count in (26, 3000):
        started = time.process_time()
        parse_accept.__wrapped__("a/b" + parameter * count + end)
        assert time.process_time() - started < 5


@pytest.mark.parametrize("path", ["/health", "/problems/not-found"])
def test_pages_and_probes_ignore_accept(client: FlaskClient, path: str) -> None:
    assert client.get(path, headers={"Accept": "text/html"}).status_code == 200


# Limits


@pytest.fixture
def limited(app: Flask) -> Iterator[Limited]:
    """Return a function that makes a client of an application with a rate limit, on the same database."""
    with clients(components_of(app).settings) as make:
        yield lambda limit: make(ratelimit_enabled=True, ratelimit_default=limit)


def test_each_response_counts_down(limited: Limited) -> None:
    client = limited("3 per minute")
    for remaining, path in ((2, "/posts"), (1, "/posts/999"), (0, "/nowhere")):
        response = client.get(API + path)
        assert response.headers["X-RateLimit-Limit"] == "3"
        assert response.headers["X-RateLimit-Remaining"] == str(remaining)
        assert 1 <= int(response.headers["X-RateLimit-Reset"]) <= 60
        assert "Retry-After" not in response.headers


def test_one_request_too_many_is_refused(limited: Limited) -> None:
    client = limited("1 per minute")
    client.get(API + "/posts")
    response = client.get(API + "/posts", headers={"Origin": "https://app.example.com", "X-Request-ID": "mine"})
    assert problem(response) == (429, "rate_limited")
    assert response.headers["X-Request-ID"] == "mine"
    assert response.headers["X-RateLimit-Remaining"] == "0"
    assert response.headers["Retry-After"] == response.headers["X-RateLimit-Reset"]
    assert 1 <= int(response.headers["Retry-After"]) <= 60
    assert response.headers["Access-Control-Allow-Origin"] == "https://app.example.com"


def test_each_address_has_its_own_window(limited: Limited) -> None:
    client = limited("1 per minute")
    for address in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"):
        assert client.get(API + "/posts", environ_base={"REMOTE_ADDR": address}).status_code == 200
    for address in ("192.0.2.1", "::ffff:192.0.2.1", "2001:db8::2"):
        assert client.get(API + "/posts", environ_base={"REMOTE_ADDR": address}).status_code == 429


def test_forwarding_headers_give_no_new_window(limited: Limited) -> None:
    client = limited("1 per minute")
    for number in range(3):
        headers = {
            "X-Forwarded-For": f"192.0.2.{number}",
            "Forwarded": f"for=192.0.2.{number}",
            "X-Real-IP": "192.0.2.9",
        }
        response = client.get(API + "/posts", headers=headers)
        assert response.status_code == (429 if number else 200)


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_probes_are_never_limited(limited: Limited, path: str) -> None:
    client = limited("1 per minute")
    for _ in range(3):
        response = client.get(path)
        assert response.status_code == 200
        assert "X-RateLimit-Limit" not in response.headers


def test_preflights_are_not_counted(limited: Limited) -> None:
    client = limited("1 per minute")
    for _ in range(3):
        assert client.options(API + "/posts").status_code == 204
    assert client.get(API + "/posts").status_code == 200


def test_without_limits_there_are_no_limit_headers(client: FlaskClient) -> None:
    assert "X-RateLimit-Limit" not in client.get(API + "/posts").headers
