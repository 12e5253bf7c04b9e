"""Request heads and bodies that are too long, incomplete or never end, through nginx to real replicas."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import select
import socket
import time
from collections.abc import Iterator

import pytest

from app.api.errors import PROBLEMS
from gatepost.testing.services import LOOPBACK
from tests.stack.conftest import API, Front, Stack
from tests.stack.wire import ORIGIN, TIMEOUT_SECONDS, Answer, call, send
from tests.support.services.nginx import NginxServer

HEAD = f"Host: localhost\r\nOrigin: {ORIGIN}\r\nConnection: close\r\n"
CHUNKED = f"POST {API}/posts HTTP/1.1\r\n{HEAD}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
# After this time nginx closes a connection to which a client sends a body too slowly, or whose client goes on after a
# refusal. In nginx.conf they are 10 s and (nginx's default) 30 s.
SHORT_TIMES = {"client_body_timeout 10s;": "client_body_timeout 1s; lingering_time 1s;"}
STALLED_CLIENTS = 20
# Against hanging: nginx's own time for a body is 60 s.
GUARD_SECONDS = 45


@pytest.fixture(scope="module")
def nginx(lasting_front: Front, stack: Stack) -> NginxServer:
    """An nginx with short time limits in front of the replicas."""
    servers = [f"{LOOPBACK}:{replica.port}" for replica in stack.replicas]
    return lasting_front(*servers, env={"NGINX_RATE": "10000r/s", "NGINX_BURST": "10000"}, changes=SHORT_TIMES)


def check_problem(answer: Answer, code: str) -> None:
    """Check that the response is the problem document of `code`."""
    assert (answer.status, answer.only("Content-Type")) == (PROBLEMS[code].status, "application/problem+json")
    assert answer.json()["code"] == code


def fields(count: int, length: int) -> str:
    """Return this many header fields with values of this length."""
    return "".join(f"X-Long-{number}: {'a' * length}\r\n" for number in range(count))


class TestHeads:
    @pytest.mark.parametrize("count", [5, 25])
    def test_many_long_fields_reach_the_application(self, nginx: NginxServer, count: int) -> None:
        answer = send(nginx.port, f"GET {API}/posts HTTP/1.1\r\n{HEAD}{fields(count, 4000)}\r\n".encode())
        assert answer.status == 200

    @pytest.mark.parametrize(
        "excess", [fields(40, 4000), fields(300, 1000), fields(3, 40_000), fields(150, 10)], ids=len
    )
    def test_more_than_that_is_refused(self, nginx: NginxServer, excess: str) -> None:
        check_problem(send(nginx.port, f"GET {API}/posts HTTP/1.1\r\n{HEAD}{excess}\r\n".encode()), "headers_too_large")

    def test_a_head_without_end_is_refused(self, nginx: NginxServer) -> None:
        parts = itertools.chain([f"GET {API}/posts HTTP/1.1\r\n{HEAD}"], itertools.repeat("X-Field: a\r\n" * 100))
        status, seconds = send_until_closed(nginx.port, parts)
        assert status == 431
        assert seconds < GUARD_SECONDS

    @pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
    @pytest.mark.parametrize("host", ["Host:\r\n", "Host: a b\r\n", "Host: a\r\nHost: b\r\n"])
    def test_an_invalid_host_is_refused(self, nginx: NginxServer, version: str, host: str) -> None:
        request = f"GET {API}/posts {version}\r\n{host}Connection: close\r\n\r\n"
        check_problem(send(nginx.port, request.encode()), "malformed_request")

    def test_only_http_1_0_may_omit_the_host(self, nginx: NginxServer) -> None:
        newer, older = (
            f"GET {API}/posts {version}\r\nConnection: close\r\n\r\n" for version in ("HTTP/1.1", "HTTP/1.0")
        )
        check_problem(send(nginx.port, newer.encode()), "malformed_request")
        answer = send(nginx.port, older.encode())
        assert (answer.status, answer.only("Content-Type")) == (200, "application/json")


def send_until_closed(port: int, parts: Iterator[str]) -> tuple[int, float]:
    """Send parts of one request until nginx closes the connection.

    Returns the status of the response, 0 without one, and the time in seconds until the connection was closed.
    """
    began, received = time.monotonic(), b""
    with socket.create_connection((LOOPBACK, port), timeout=TIMEOUT_SECONDS) as client:
        with contextlib.suppress(ConnectionError):
            for part in parts:
                client.sendall(part.encode())
                if not received and select.select([client], [], [], 0)[0]:
                    received = client.recv(12)
                assert time.monotonic() < began + GUARD_SECONDS
        with contextlib.suppress(ConnectionError):
            received += client.recv(12)
    return int(received[9:12] or 0), time.monotonic() - began


def read_status(client: socket.socket) -> int:
    """Return the status of the response on a connection, 0 if it is closed without one. Fails after TIMEOUT_SECONDS."""
    try:
        response = http.client.HTTPResponse(client)
        response.begin()
    except (ConnectionError, http.client.HTTPException):
        return 0
    return response.status


class TestBodies:
    @pytest.mark.parametrize(
        "endless", [f"{1000:x}\r\n{'x' * 1000}\r\n" * 20, "1\r\nx\r\n" * 5000], ids=["long chunks", "short chunks"]
    )
    def test_a_chunked_body_without_end_is_refused(self, nginx: NginxServer, endless: str) -> None:
        status, seconds = send_until_closed(nginx.port, itertools.chain([CHUNKED], itertools.repeat(endless)))
        assert status == 413
        assert seconds < GUARD_SECONDS

    @pytest.mark.parametrize("start", ["", "5\r\nab", "5\r\nabcde\r\n0\r\n", "5;extension", "0\r\nTrailer: "], ids=repr)
    def test_a_stalled_chunked_body_ends_its_connection_and_no_other(self, nginx: NginxServer, start: str) -> None:
        with contextlib.ExitStack() as connections:
            began = time.monotonic()
            stalled = [
                connections.enter_context(socket.create_connection((LOOPBACK, nginx.port), timeout=TIMEOUT_SECONDS))
                for _ in range(STALLED_CLIENTS)
            ]
            for client in stalled:
                client.sendall((CHUNKED + start).encode())
            assert [call(nginx.port, "GET", f"{API}/posts").status for _ in range(5)] == [200] * 5
            assert [read_status(client) for client in stalled] == [0] * STALLED_CLIENTS
            assert time.monotonic() - began < GUARD_SECONDS
