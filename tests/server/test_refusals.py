"""gunicorn's own refusals: problems like all others, and no reason to fall over."""

from __future__ import annotations

import json
import re
import socket

import pytest

from tests.server.small_server import (
    CHUNKED,
    GET,
    ORIGIN,
    POST,
    Server,
    assert_refused,
    read_answer,
    read_to_end,
    request,
)
from tests.support.services import LOOPBACK
from tests.support.services.gunicorn import GatepostServer

MALFORMED = {
    "garbage": b"\x00\xff\x13\x37\xfe\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no target": request("GET HTTP/1.1"),
    "no version": request("GET /"),
    "HTTP/9.9": request("GET / HTTP/9.9"),
    "HTTP/1.10": request("GET / HTTP/1.10"),
    "lower-case version": request("GET / http/1.1"),
    "lower-case method": request("get / HTTP/1.1"),
    "method with a bracket": request("GE(T / HTTP/1.1"),
    "space in the target": request("GET /a b HTTP/1.1"),
    "raw byte in the target": request("GET /\xe9 HTTP/1.1"),
    "NUL in the target": request("GET /\x00 HTTP/1.1"),
    "asterisk with GET": request("GET * HTTP/1.1"),
    "authority with GET": request("GET host:80 HTTP/1.1"),
    "bare LF": b"GET / HTTP/1.1\nHost: h\n\n",
    "bare LF after a field": b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": request(GET, "Host: other"),
    "field without a colon": request(GET, "Nonsense"),
    "field without a name": request(GET, ": value"),
    "space before the colon": request(GET, "Accept : */*"),
    "space in a name": request(GET, "X Y: z"),
    "folded field": request(GET, "X-Long: a", " b"),
    "NUL in a field": request(GET, "X-Bad: a\x00b"),
    "CR in a field": request(GET, "X-Bad: a\rb"),
    "escape in a field": request(GET, "X-Bad: a\x1bb"),
    "foreign expectation": request(POST, "Expect: 200-ok", "Content-Length: 0"),
    "two lengths": request(POST, "Content-Length: 3", "Content-Length: 3", body="abc"),
    "list of lengths": request(POST, "Content-Length: 3, 3", body="abc"),
    "length and chunks": request(POST, "Content-Length: 3", CHUNKED, body="0\r\n\r\n"),
    "chunks and length": request(POST, CHUNKED, "Content-Length: 3", body="0\r\n\r\n"),
    "negative length": request(POST, "Content-Length: -1"),
    "signed length": request(POST, "Content-Length: +3", body="abc"),
    "length in hex": request(POST, "Content-Length: 0x3", body="abc"),
    "length in other digits": request(POST, "Content-Length: \xb3", body="abc"),
    "length beyond an int": request(POST, "Content-Length: " + "9" * 5000),
    "gzip coding": request(POST, "Transfer-Encoding: gzip", body="abc"),
    "gzip under chunks": request(POST, "Transfer-Encoding: gzip, chunked", body="0\r\n\r\n"),
    "chunks twice": request(POST, "Transfer-Encoding: chunked, chunked", body="0\r\n\r\n"),
    "identity coding": request(POST, "Transfer-Encoding: identity", body="abc"),
    "unknown coding": request(POST, "Transfer-Encoding: cow", body="abc"),
    "hidden coding": request(POST, "Transfer-Encoding: \x0bchunked", body="0\r\n\r\n"),
    "chunks over HTTP/1.0": request("POST /body HTTP/1.0", CHUNKED, body="0\r\n\r\n"),
    "chunk size not hex": request(POST, CHUNKED, body="zz\r\nabc\r\n0\r\n\r\n"),
    "negative chunk size": request(POST, CHUNKED, body="-3\r\nabc\r\n0\r\n\r\n"),
    "signed chunk size": request(POST, CHUNKED, body="+3\r\nabc\r\n0\r\n\r\n"),
    "chunk size with underscore": request(POST, CHUNKED, body="1_0\r\nabc\r\n0\r\n\r\n"),
    "chunk without its end": request(POST, CHUNKED, body="3\r\nabcdef\r\n0\r\n\r\n"),
    "bad chunk extension": request(POST, CHUNKED, body="3;=\r\nabc\r\n0\r\n\r\n"),
    "endless chunk size": request(POST, CHUNKED, body="0" * 20_000),
    "forbidden trailer": request(POST, CHUNKED, body="0\r\nContent-Length: 3\r\n\r\n"),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_bytes_are_a_400_and_the_server_goes_on(server: Server, data: bytes) -> None:
    document = assert_refused(server.ask(data), 400, "malformed_request")
    assert re.fullmatch("[0-9a-f]{32}", document["request_id"])
    assert not re.search(r"Invalid[A-Z]|Error|gunicorn|\.py|/usr|0x", json.dumps(document))
    assert server.is_up()


TOO_LARGE = {
    "long target": (request(f"GET /{'a' * 9_000} HTTP/1.1"), 414, "uri_too_long"),
    "endless target": (b"GET /" + b"a" * 200_000, 414, "uri_too_long"),
    "many fields": (request(GET, *[f"X-{n}: y" for n in range(101)]), 431, "headers_too_large"),
    "large field": (request(GET, f"X-Large: {'a' * 9_000}"), 431, "headers_too_large"),
    "endless field": (b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000, 431, "headers_too_large"),
    "large head": (
        request(GET, *[f"X-{n}: {'a' * 4_000}" for n in range(40)]), 431, "headers_too_large",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "status", "code"), TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_heads_over_a_limit(server: Server, data: bytes, status: int, code: str) -> None:
    assert_refused(server.ask(data), status, code)
    assert server.is_up()


def test_heads_at_the_limits_are_served(server: Server) -> None:
    close = "Connection: close"
    assert server.ask(request(f"GET /{'a' * 8_100} HTTP/1.1", close)).status == 200
    assert server.ask(request(GET, close, *[f"X-{n}: y" for n in range(97)])).status == 200
    assert server.ask(request(GET, close, f"X-Large: {'a' * 8_100}")).status == 200


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        (["X-Request-ID: abc-1.Z_"], True),
        (["x-request-id: " + "a" * 128], True),
        (["X-Request-ID: " + "a" * 129], False),
        (["X-Request-ID: a b"], False),
        (["X-Request-ID: a\xe9"], False),
        (["X-Request-ID: one", "X-Request-ID: two"], False),
    ],
)
def test_refusal_keeps_the_callers_request_id_if_it_may(server: Server, sent: list[str], echoed: bool) -> None:
    document = assert_refused(server.ask(request(GET, *sent, "Bad")), 400, "malformed_request")
    if echoed:
        assert document["request_id"] == sent[0].split(": ")[1]
    else:
        assert re.fullmatch("[0-9a-f]{32}", document["request_id"])


def test_refusal_can_be_read_by_an_allowed_origin(server: Server) -> None:
    refused = [
        request(GET, f"Origin: {ORIGIN}", "Bad"),
        request(GET, f"origin:{ORIGIN} ", "Bad"),
        request(f"GET /{'a' * 20_000} HTTP/1.1", f"Origin: {ORIGIN}"),
        request(GET, f"X-Large: {'a' * 20_000}", f"Origin: {ORIGIN}"),
        request(POST, CHUNKED, f"Origin: {ORIGIN}", body="zz\r\n"),
    ]
    for data in refused:
        headers = server.ask(data).headers
        assert headers["access-control-allow-origin"] == ORIGIN
        assert headers["vary"] == "Origin"
        assert {"X-Request-ID", "Retry-After"} <= set(headers["access-control-expose-headers"].split(", "))


@pytest.mark.parametrize(
    "origins",
    [
        [],
        ["Origin: null"],
        ["Origin: https://evil.test"],
        [f"Origin: {ORIGIN}.evil.test"],
        [f"Origin: {ORIGIN}", "Origin: https://evil.test"],
    ],
)
def test_refusal_is_hidden_from_other_origins(server: Server, origins: list[str]) -> None:
    headers = server.ask(request(GET, *origins, "Bad")).headers
    assert not [name for name in headers if name.startswith("access-control")]
    assert headers["vary"] == "Origin"


def test_refusal_of_head_has_no_body(server: Server) -> None:
    with server.connect() as client:
        client.sendall(request("HEAD / HTTP/1.1", "Bad"))
        head, body = read_to_end(client).split(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert body == b""


def test_smuggled_request_is_not_served(server: Server) -> None:
    inner = "GET /environ HTTP/1.1\r\nHost: h\r\n\r\n"
    for headers in (
        ["Content-Length: 4", CHUNKED],
        [CHUNKED, "Transfer-Encoding: identity"],
        ["Transfer-Encoding:\tchunked", "Content-Length: 5"],
    ):
        data = request(POST, *headers, body=f"0\r\n\r\n{inner}")
        assert_refused(server.ask(data), 400, "malformed_request")


def test_application_that_fails_is_an_internal_error_without_its_reasons(server: Server) -> None:
    answer = server.ask(request("GET /fail HTTP/1.1", "X-Request-ID: trace-me"))
    document = assert_refused(answer, 500, "internal_error")
    assert b"passwd" not in answer.body
    assert b"ValueError" not in answer.body
    assert document["request_id"] == "trace-me"
    server.wait_for_log("the secret is in /etc/passwd")
    assert "trace-me" in server.process.log_text()


def test_log_holds_no_byte_of_a_refused_request(server: Server) -> None:
    data = request(GET, "X-Request-ID: find-me", "Authorization Bearer s3cr3t-t0ken")
    server.ask(data)
    server.ask(b"GET /?token=s3cr3t-t0ken HTTP/7.0\r\n\r\n")
    server.wait_for_log("find-me")
    server.wait_for_log("InvalidHTTPVersion")
    assert "s3cr3t" not in server.process.log_text()


def test_served_answers_name_no_version_and_forwarding_headers_are_left_to_the_application(
    server: Server,
) -> None:
    forged = [
        "X-Forwarded-Proto: https",
        "X-Forwarded-Ssl: on",
        "SCRIPT_NAME: /evil",
        "PATH_INFO: /evil",
        "X_Forwarded_For: 6.6.6.6",
        "Remote_Addr: 6.6.6.6",
    ]
    answer = server.ask(request("GET /environ HTTP/1.1", *forged, "Connection: close"))
    assert answer.headers["server"] == "gatepost"
    environ = answer.body.decode()
    assert "'wsgi.url_scheme': 'http'" in environ
    assert "'SCRIPT_NAME': ''" in environ
    assert "evil" not in environ
    assert "6.6.6.6" not in environ
    assert "gunicorn/" not in environ


def test_refusal_has_the_headers_that_the_application_gives_its_own() -> None:
    with GatepostServer({"CORS_ORIGINS": f"{ORIGIN},https://b.test", "SERVICE_PREFIX": "/example"}) as gatepost:
        headers = ["Host: h", f"Origin: {ORIGIN}", "X-Request-ID: same", "Connection: close"]
        answers = []
        for bad in ([], ["Bad"]):
            with socket.create_connection((LOOPBACK, gatepost.port), timeout=20) as client:
                lines = ["GET /example/nowhere HTTP/1.1", *headers, *bad, "", ""]
                client.sendall("\r\n".join(lines).encode())
                answers.append(read_answer(read_to_end(client))[0])
    own, refused = answers
    assert (own.status, refused.status) == (404, 400)
    assert refused.problem()["type"] == "/example/problems/malformed-request"
    assert own.problem().keys() == refused.problem().keys()
    specific = {"content-length", "date", *(h for h in own.headers if h.startswith("x-ratelimit"))}
    for name in own.headers.keys() - specific:
        values = [set(answer.headers[name].split(", ")) for answer in answers]
        assert values[0] == values[1], name
    assert refused.headers.keys() <= own.headers.keys()
