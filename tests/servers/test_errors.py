"""Answers without success, methods and headers: the contract's, whichever server sends them."""

from __future__ import annotations

import re

import pytest

from gatepost.testing.races import Arena
from gatepost.testing.services.gatepost import GatepostServer
from tests.conftest import API
from tests.servers.wire import (
    ORIGIN,
    Answer,
    Connection,
    ask,
    bearer,
    connections_to_workers,
    get,
    is_up,
    json_request,
    request,
    wait_until,
)

LOGIN = f"{API}/auth/login"
# The name of a program with a version behind it, as in "gunicorn/23.0" or "Python 3.11".
VERSION = re.compile(r"(gunicorn|granian|hyper|werkzeug|flask|python)[/ -]*v?\d", re.IGNORECASE)
REFUSALS = {
    "unknown route": (request("GET /nowhere HTTP/1.1"), (404, "not_found")),
    "unknown route of the API": (request(f"GET {API}/nowhere HTTP/1.1"), (404, "not_found")),
    "two slashes at the beginning": (request(f"GET /{API}/posts HTTP/1.1"), (404, "not_found")),
    "two slashes before a probe": (request("GET //health HTTP/1.1"), (404, "not_found")),
    "two slashes after an authority": (
        request(f"GET http://gatepost.test/{API}/posts HTTP/1.1"),
        (404, "not_found"),
    ),
    "two slashes within": (request("GET /api//v1/posts HTTP/1.1"), (404, "not_found")),
    "an encoded slash at the beginning": (request("GET /%2Fapi/v1/posts HTTP/1.1"), (404, "not_found")),
    "a segment that is a dot": (request("GET /./api/v1/posts HTTP/1.1"), (404, "not_found")),
    "unknown resource": (request(f"GET {API}/posts/9223372036854775807 HTTP/1.1"), (404, "not_found")),
    "no credentials": (request(f"GET {API}/auth/me HTTP/1.1"), (401, "authentication_required")),
    "bad token": (request(f"GET {API}/auth/me HTTP/1.1", bearer("rubbish")), (401, "token_invalid")),
    "two credentials": (
        request(f"GET {API}/auth/me HTTP/1.1", "Authorization: Bearer a, Bearer b"),
        (400, "malformed_request"),
    ),
    "wrong method": (request("DELETE /health HTTP/1.1"), (405, "method_not_allowed")),
    "unknown method": (request("BREW /health HTTP/1.1"), (405, "method_not_allowed")),
    "no JSON accepted": (request(f"GET {API}/posts HTTP/1.1", "Accept: text/html"), (406, "not_acceptable")),
    "unknown parameter": (request(f"GET {API}/posts?surprise=1 HTTP/1.1"), (422, "validation_error")),
    "missing fields": (json_request("POST", LOGIN, {}), (422, "validation_error")),
    "not JSON": (
        request(f"POST {LOGIN} HTTP/1.1", "Content-Type: text/plain", "Content-Length: 2", body="{}"),
        (415, "unsupported_media_type"),
    ),
}


@pytest.mark.parametrize(("data", "outcome"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refusal_is_a_problem_document_that_an_allowed_origin_may_read(
    server: GatepostServer, data: bytes, outcome: tuple[int, str]
) -> None:
    answer = ask(server, with_headers(data, f"Origin: {ORIGIN}", "X-Request-ID: my-id"))
    assert answer is not None
    assert_problem(answer, outcome)
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["vary"] == "Origin"
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"Retry-After", "X-Request-ID"} <= set(exposed)
    assert answer.headers["x-request-id"] == "my-id"


def with_headers(data: bytes, *headers: str) -> bytes:
    """Add header lines to a request."""
    line, rest = data.split(b"\r\n", 1)
    return b"\r\n".join([line, *(header.encode() for header in headers), rest])


def assert_problem(answer: Answer, outcome: tuple[int, str]) -> None:
    """Check that an answer is the problem document of this status and code (RFC 9457)."""
    assert answer.outcome == outcome, answer.body
    document = answer.json
    assert document["status"] == answer.status
    assert document["type"] == f"/problems/{document['code'].replace('_', '-')}"
    assert document["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{ORIGIN}.evil.example", ORIGIN.upper()])
def test_another_origin_may_not_read_a_refusal(server: GatepostServer, origin: str) -> None:
    answer = get(server, "/nowhere", f"Origin: {origin}")
    assert answer.status == 404
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert answer.headers["vary"] == "Origin"


ALLOWED = {
    "/health": "GET, HEAD, OPTIONS",
    f"{API}/posts": "GET, HEAD, OPTIONS, POST",
    f"{API}/posts/1": "DELETE, GET, HEAD, OPTIONS, PATCH, PUT",
    f"{API}/auth/login": "OPTIONS, POST",
    f"{API}/auth/sessions": "DELETE, GET, HEAD, OPTIONS",
}


@pytest.mark.parametrize(("path", "methods"), ALLOWED.items())
def test_allow_names_exactly_the_methods_of_a_resource(server: GatepostServer, path: str, methods: str) -> None:
    with Connection(server) as connection:
        refused = connection.ask(request(f"TRACE {path} HTTP/1.1"))
        options = connection.ask(request(f"OPTIONS {path} HTTP/1.1"))
    assert_problem(refused, (405, "method_not_allowed"))
    assert options.status == 204
    assert {tuple(sorted(answer.headers["allow"].split(", "))) for answer in (refused, options)} == {
        tuple(methods.split(", "))
    }


def test_a_preflight_is_answered_on_any_path(server: GatepostServer) -> None:
    for path in (f"{API}/posts", "/nowhere"):
        answer = ask(
            server,
            request(
                f"OPTIONS {path} HTTP/1.1",
                f"Origin: {ORIGIN}",
                "Access-Control-Request-Method: PATCH",
                "Access-Control-Request-Headers: if-match,authorization",
            ),
        )
        assert answer is not None
        assert answer.status in (200, 204)
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert "PATCH" in answer.headers["access-control-allow-methods"]
        assert answer.headers["access-control-max-age"] == "600"


@pytest.mark.parametrize("path", ["/health", f"{API}/posts", f"{API}/nowhere", "/openapi.json"])
def test_head_is_get_without_the_body(server: GatepostServer, path: str) -> None:
    with Connection(server) as connection:
        whole = connection.ask(request(f"GET {path} HTTP/1.1", "X-Request-ID: same"))
        head = connection.ask(request(f"HEAD {path} HTTP/1.1", "X-Request-ID: same"), has_body=False)
        # A body would be read as the beginning of the next answer.
        assert connection.ask(request("GET /health HTTP/1.1")).status == 200
    assert head.status == whole.status
    assert without_date(head) == without_date(whole)
    assert int(head.headers["content-length"]) == len(whole.body)


def without_date(answer: Answer) -> dict[str, str]:
    """The headers of an answer but for the time."""
    return {name: value for name, value in answer.headers.items() if name != "date"}


def test_not_modified_has_no_body_and_keeps_the_connection(server: GatepostServer) -> None:
    with Connection(server) as connection:
        first = connection.ask(request(f"GET {API}/posts HTTP/1.1"))
        again = connection.ask(
            request(f"GET {API}/posts HTTP/1.1", f"If-None-Match: {first.headers['etag']}"), has_body=False
        )
        assert again.status == 304
        assert connection.ask(request("GET /health HTTP/1.1")).status == 200


def test_no_header_names_a_version(server: GatepostServer) -> None:
    samples = [
        request("GET /health HTTP/1.1"),
        request("GET /nowhere HTTP/1.1"),
        request("GET /docs HTTP/1.1"),
        request("GET /metrics HTTP/1.1"),
        request(f"POST {LOGIN} HTTP/1.1", "Content-Type: application/json", "Content-Length: 1", body="{"),
        request("GET /" + "a" * 70_000 + " HTTP/1.1"),
        b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
    ]
    answers = [ask(server, data) for data in samples]
    for answer in filter(None, answers):
        named = [f"{name}: {value}" for name, value in answer.headers.items() if VERSION.search(value)]
        assert not named
        assert answer.headers.get("server", "gunicorn") in ("gunicorn", "granian")
        assert not {"x-powered-by", "via"} & answer.headers.keys()
    assert None not in answers[:5]


def test_an_unhandled_exception_is_a_500_problem_without_its_reason(sqlite_server: GatepostServer) -> None:
    arena = Arena.of(sqlite_server)
    member = arena.join()
    body = {"title": "Broken", "content": "Its date will be unreadable."}
    post_id = arena.call("POST", "/posts", token=member.log_in().access, body=body).json["id"]
    with arena.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE posts SET created_at = 'secret rubbish' WHERE id = ?", (post_id,))
    data = request(f"GET {API}/posts/{post_id} HTTP/1.1", f"Origin: {ORIGIN}", "X-Request-ID: failing")
    try:
        before = len(sqlite_server.log_text())
        with connections_to_workers(sqlite_server) as connections:
            for worker in connections:
                answer = worker.ask(data)
                assert_problem(answer, (500, "internal_error"))
                assert answer.headers["access-control-allow-origin"] == ORIGIN
                assert not re.search(rb"secret|Error|\.py|sqlite|SELECT", answer.body)
                # The worker and even the connection go on.
                assert worker.ask(request("GET /health HTTP/1.1")).status == 200
        wait_until(lambda: "secret rubbish" in sqlite_server.log_text()[before:], "the exception is not in the log")
        assert is_up(sqlite_server)
    finally:
        arena.call("DELETE", f"/users/{member.id}", token=member.log_in().access)
        with arena.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM posts WHERE id = ?", (post_id,))
