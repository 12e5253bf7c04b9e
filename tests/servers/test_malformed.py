"""Bytes that are no HTTP request, and heads over a limit: a 4xx or a closed connection, and the service goes on."""

from __future__ import annotations

import pytest

from gatepost.testing.services.gatepost import GatepostServer
from tests.servers.wire import Connection, ask, is_up, request

GET = "GET /health HTTP/1.1"
MALFORMED = {
    "garbage": b"\x00\xff\x13\x37\xfe\r\n\r\n",
    "a line of text": b"nonsense\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\r\n\r\n",
    "an HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "no target": request("GET HTTP/1.1"),
    "HTTP/9.9": request("GET / HTTP/9.9"),
    "lower-case version": request("GET / http/1.1"),
    "method with a bracket": request("GE(T / HTTP/1.1"),
    "space in the target": request("GET /a b HTTP/1.1"),
    "NUL in the target": request("GET /\x00 HTTP/1.1"),
    "raw byte in the target": request("GET /\xe9 HTTP/1.1"),
    "field without a colon": request(GET, "Nonsense"),
    "field without a name": request(GET, ": value"),
    "space in a name": request(GET, "X Y: z"),
    "NUL in a field": request(GET, "X-Bad: a\x00b"),
    "CR in a field": request(GET, "X-Bad: a\rb"),
    "cut in the request line": b"GET / HT",
    "cut in a field": b"GET / HTTP/1.1\r\nHost: h\r\nAccept: ",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_bytes_are_a_400_or_a_closed_connection(server: GatepostServer, data: bytes) -> None:
    with Connection(server) as connection:
        connection.send(data)
        connection.end_sending()
        answer = connection.receive()
        assert answer is None or answer.status in (400, 405, 505), answer
        assert connection.is_closed_by_server()
    assert is_up(server)


TOO_LARGE = {
    # granian passes on a target of up to 65,535 bytes, and a field of any length in a head of up to 400 kB.
    "target over 8 kB": (request(f"GET /{'a' * 9_000} HTTP/1.1"), {404, 414}),
    "target over 64 kB": (request(f"GET /{'a' * 70_000} HTTP/1.1"), {414}),
    "endless target": (b"GET /" + b"a" * 1_000_000, {400, 414, 431}),
    "field over 8 kB": (request(GET, f"X-Large: {'a' * 9_000}"), {200, 431}),
    "120 fields": (request(GET, *[f"X-{n}: y" for n in range(120)]), {431}),
    "endless field": (b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000, {400, 431}),
    "head over 1 MB": (request(GET, *[f"X-{n}: {'a' * 20_000}" for n in range(60)]), {431}),
}


@pytest.mark.parametrize(("data", "statuses"), TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_a_head_over_a_limit_is_a_4xx(server: GatepostServer, data: bytes, statuses: set[int]) -> None:
    answer = ask(server, data)
    # A server that refuses a head before it has read it may close the connection under the client.
    assert answer is None or answer.status in statuses, answer
    assert answer is not None or len(data) > 400_000
    assert is_up(server)


def test_a_head_below_the_limits_is_served(server: GatepostServer) -> None:
    with Connection(server) as connection:
        assert connection.ask(request(f"GET /{'a' * 7_500} HTTP/1.1")).status == 404
        assert connection.ask(request(GET, *[f"X-{n}: y" for n in range(90)])).status == 200
        assert connection.ask(request(GET, f"X-Large: {'a' * 8_000}")).status == 200


def test_no_byte_of_a_malformed_request_is_logged(server: GatepostServer) -> None:
    before = len(server.log_text())
    for data in (
        request(GET, "Authorization Bearer s3cr3t-t0ken"),
        b"GET /?token=s3cr3t-t0ken HTTP/7.0\r\n\r\n",
        request(f"GET /health?token=s3cr3t-t0ken&{'a' * 70_000} HTTP/1.1"),
    ):
        ask(server, data)
    assert is_up(server)
    assert "s3cr3t" not in server.log_text()[before:]
