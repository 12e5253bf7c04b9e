"""Clients that stall, cut, trickle, or never close: none holds up another."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import pytest

from tests.server.small_server import (
    CHUNKED,
    GET,
    ORIGIN,
    POST,
    STALL_SECONDS,
    Server,
    assert_refused,
    read_answer,
    read_to_end,
    receive,
    request,
    serving,
)
from tests.support.services import LOOPBACK
from tests.support.services.gunicorn import GatepostServer


def test_body_cut_short_is_never_taken_for_the_whole(server: Server) -> None:
    cut = [
        request(POST, "Content-Length: 10", body="abc"),
        request(POST, "Content-Length: 10"),
        request(POST, CHUNKED, body="a\r\nabc"),
        request(POST, CHUNKED, body="3\r\nabc\r\n"),
        request(POST, CHUNKED, body="3\r\nabc\r\n0\r\n"),
    ]
    for data in cut:
        assert_refused(server.ask(data, half_close=True), 400, "malformed_request")
    whole = request(POST, "Content-Length: 3", "Connection: close", body="abc")
    assert server.ask(whole, half_close=True).body == b"3"


@pytest.mark.parametrize(
    "data",
    [
        request(POST, "Content-Length: 10", body="abc"),
        request(POST, CHUNKED, body="a\r\nabc"),
        b"GET / HT",
        b"GET / HTTP/1.1\r\nHost: h\r\nAccept: ",
    ],
)
def test_stalled_client_is_a_408(server: Server, data: bytes) -> None:
    began = time.monotonic()
    assert_refused(server.ask(data), 408, "request_timeout")
    assert STALL_SECONDS * 0.9 < time.monotonic() - began < STALL_SECONDS + 2


@pytest.mark.parametrize("beginning", [b"GET /", request(POST, "Content-Length: 900")])
def test_client_that_trickles_is_a_408(server: Server, beginning: bytes) -> None:
    began = time.monotonic()
    with server.connect() as client:
        client.sendall(beginning)
        client.settimeout(0.1)
        raw = b""
        while not raw:
            client.sendall(b"a")
            with contextlib.suppress(TimeoutError):
                raw = client.recv(65_536)
            assert time.monotonic() - began < 3 * STALL_SECONDS
    assert_refused(read_answer(raw)[0], 408, "request_timeout")


def test_origin_whose_line_was_cut_is_not_believed(server: Server) -> None:
    # The rest of this line might make it another origin.
    data = f"GET / HTTP/1.1\r\nHost: h\r\nOrigin: {ORIGIN}".encode()
    answer = server.ask(data)
    assert_refused(answer, 408, "request_timeout")
    assert "access-control-allow-origin" not in answer.headers


def test_silent_connections_hold_no_thread_and_are_closed(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(server.connect()) for _ in range(20)]
        began = time.monotonic()
        assert server.is_up()
        assert time.monotonic() - began < STALL_SECONDS / 2
        assert {client.recv(1) for client in silent} == {b""}


SLOW = [
    b"GET / HTTP/1.1\r\nHo",
    request(GET, "Content-Length: 10"),
    request(POST, "Content-Length: 10", body="123"),
    request(POST, "Content-Length: 60000", body="1" * 50_000),
]


@pytest.mark.parametrize("data", SLOW)
def test_clients_that_are_slow_to_send_hold_no_thread(server: Server, data: bytes) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(server.connect()).sendall(data)
        time.sleep(0.1)
        began = time.monotonic()
        assert server.is_up()
        assert time.monotonic() - began < STALL_SECONDS / 2


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"nonsense\r\n", 400), (b"\x16\x03\x01\x02\x00\x01\n", 400), (b"GET /" + b"a" * 9000, 414)],
)
def test_what_can_be_no_request_is_refused_before_it_is_whole(server: Server, data: bytes, status: int) -> None:
    began = time.monotonic()
    assert server.ask(data).status == status
    assert time.monotonic() - began < STALL_SECONDS * 0.9


def test_connection_that_was_late_once_may_send_in_parts_again(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        late = stack.enter_context(server.connect())
        late.sendall(b"GET / HTTP/1.1\r\n")
        holding = [stack.enter_context(server.connect()) for _ in range(2)]
        for client in holding:
            client.sendall(request("GET /sleep?seconds=2.5 HTTP/1.1"))
        time.sleep(STALL_SECONDS + 0.7)
        # Its time is over, but no thread was free to say so.
        late.sendall(b"Host: h\r\n\r\n")
        assert receive(late).status == 200
        late.sendall(b"GET / HTTP/1.1\r\n")
        time.sleep(0.2)
        late.sendall(b"Host: h\r\n\r\n")
        assert receive(late).status == 200
        assert [receive(client).status for client in holding] == [200, 200]


def test_clients_that_do_not_close_hold_up_nobody(server: Server) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(10):
            client = stack.enter_context(server.connect())
            client.sendall(b"nonsense\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 400"
        began = time.monotonic()
        assert server.is_up()
        assert time.monotonic() - began < 1


def test_client_that_does_not_read_its_answer_loses_its_thread(server: Server) -> None:
    log_before = len(server.process.log_text())
    with contextlib.ExitStack() as stack:
        for _ in range(2):
            client = stack.enter_context(server.connect())
            client.sendall(request("GET /big HTTP/1.1"))
        time.sleep(0.2)
        began = time.monotonic()
        assert server.is_up()
        assert time.monotonic() - began < 5
    assert "Traceback" not in server.process.log_text()[log_before:]


def test_client_that_reads_slowly_gets_all(server: Server) -> None:
    with server.connect() as client:
        client.sendall(request("GET /big HTTP/1.1", "Connection: close"))
        time.sleep(0.5)
        count = 0
        while part := client.recv(1 << 20):
            count += len(part)
            time.sleep(0.05)
    assert count > 50_000_000


def test_answer_before_the_upload_has_ended_reaches_the_client(server: Server) -> None:
    size = 8_000_000
    with server.connect() as client:
        client.sendall(request("POST / HTTP/1.1", f"Content-Length: {size}", body="x" * size))
        answer, rest = read_answer(read_to_end(client))
    assert (answer.status, rest) == (200, b"")


@pytest.mark.parametrize("body", ["zz\r\n", "3\r\nabcdef", "a\r\nab"])
def test_unread_garbled_body_brings_no_second_answer(server: Server, body: str) -> None:
    answer = server.ask(request("POST / HTTP/1.1", CHUNKED, body=body), half_close=True)
    assert (answer.status, answer.body) == (200, b"ok")


def test_answer_that_fails_midway_is_cut_off_and_nothing_else(server: Server) -> None:
    pids = server.ask(request("GET /draining HTTP/1.1", "Connection: close")).body
    for _ in range(3):
        with server.connect() as client:
            client.sendall(request("GET /half HTTP/1.1"))
            raw = read_to_end(client)
        assert raw.endswith(b"the first half\r\n")
    assert server.ask(request("GET /draining HTTP/1.1", "Connection: close")).body == pids


def test_no_exception_takes_a_thread_away(server: Server) -> None:
    for _ in range(3):
        with server.connect() as client:
            client.sendall(request("GET /abandon HTTP/1.1"))
            assert read_to_end(client) == b""
    assert server.is_up()


def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    data = request(POST, "Content-Length: 3", body="abc") + request(POST, CHUNKED, body="5\r\nabcde\r\n0\r\n\r\n")
    with server.connect() as client:
        client.sendall(data + request(GET, "Connection: close"))
        raw = read_to_end(client)
    bodies = []
    while raw:
        answer, raw = read_answer(raw)
        bodies.append(answer.body)
    assert bodies == [b"3", b"5", b"ok"]


def test_worker_without_free_descriptors_recovers(tmp_path: Path) -> None:
    changes = """
        import resource
        resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
        ProblemWorker.first_byte_seconds = 1.0
    """
    with serving(tmp_path, changes) as server:
        with contextlib.ExitStack() as stack:
            for _ in range(60):
                stack.enter_context(server.connect())
            server.wait_for_log("Can't accept a connection")
        assert server.is_up()
        assert server.process.log_text().count("Booting worker") == 1


def test_application_answers_a_cut_body_as_it_answers_all_errors() -> None:
    with (
        GatepostServer({}) as gatepost,
        socket.create_connection((LOOPBACK, gatepost.port), timeout=20) as client,
    ):
        headers = ["Content-Type: application/json", "Content-Length: 99"]
        client.sendall(request("POST /api/v1/auth/login HTTP/1.1", *headers, body='{"email": "'))
        client.shutdown(socket.SHUT_WR)
        answer, rest = read_answer(read_to_end(client))
    assert_refused(answer, 400, "malformed_request")
    assert "x-ratelimit-limit" in answer.headers
    assert rest == b""
