"""How an answer gets onto the wire: what is small is there whole or not at all, whenever its process stops."""

from __future__ import annotations

import socket
import struct
import time
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.http import wsgi

from app.sending import WholeResponse
from tests.server.small_server import Server

# Where struct tcp_info of Linux has tcpi_data_segs_in.
DATA_SEGS_IN = 152


class Socket:
    """A socket that notes what each call is given."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def sendall(self, data: bytes) -> None:
        self.sent.append(bytes(data))


def begin(sock: Any, *headers: tuple[str, str], method: str = "GET") -> wsgi.Response:
    """A response that has its status and headers."""
    request: Any = SimpleNamespace(method=method, version=(1, 1), should_close=lambda: False)
    config: Any = SimpleNamespace(is_ssl=False, sendfile=False)
    response = WholeResponse(request, sock, config)
    response.start_response("200 OK", list(headers))
    return response


def test_head_and_body_leave_together() -> None:
    sock = Socket()
    response = begin(sock, ("Content-Length", "5"))
    response.write(b"whole")
    response.close()
    (sent,) = sock.sent
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sent.endswith(b"\r\n\r\nwhole")


def test_what_follows_is_sent_as_it_comes() -> None:
    sock = Socket()
    response = begin(sock, ("Content-Length", "8"))
    for part in (b"one ", b"two ", b"over"):
        response.write(part)
    response.close()
    assert len(sock.sent) == 2
    assert b"".join(sock.sent).endswith(b"\r\n\r\none two ")


def test_without_a_length_it_is_chunked() -> None:
    sock = Socket()
    response = begin(sock)
    response.write(b"one")
    response.close()
    assert b"".join(sock.sent).endswith(b"\r\n\r\n3\r\none\r\n0\r\n\r\n")
    assert sock.sent[0].endswith(b"3\r\none\r\n")


@pytest.mark.parametrize(("method", "parts"), [("HEAD", [b"whole"]), ("GET", [])])
def test_without_a_body_it_is_the_head(method: str, parts: list[bytes]) -> None:
    sock = Socket()
    response = begin(sock, ("Content-Length", "5" if parts else "0"), method=method)
    for part in parts:
        response.write(part)
    response.close()
    (sent,) = sock.sent
    assert sent.endswith(b"\r\n\r\n")


def test_a_client_that_is_gone_is_told_of_once() -> None:
    class Gone(Socket):
        def sendall(self, data: bytes) -> None:
            raise BrokenPipeError

    sock: Any = Gone()
    response = begin(sock, ("Content-Length", "5"))
    with pytest.raises(BrokenPipeError):
        response.write(b"whole")
    assert response.sock is sock


def test_a_small_answer_of_the_server_is_one_segment(server: Server) -> None:
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: client.recv(65536), b""))
        (segments,) = struct.unpack_from("I", client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 160), DATA_SEGS_IN)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert segments == 1


HEADERS = [
    ("Content-Type", "text/plain"),
    ("Content-Length", " 5"),
    ("X-Blank", "  a\t"),
    ("X-Empty", ""),
    ("X-Latin", "caf\xe9"),
    ("Connection", "close"),
    ("Keep-Alive", "timeout=5"),
    ("Upgrade", "h2c"),
    ("x-lower", "a, b"),
]


@pytest.mark.parametrize(
    "headers",
    [
        HEADERS,
        HEADERS[:1],
        [],
        [("Content-Type", "a"), ("X", "\x7f")],
        [("X Y", "a")],
        [("X", "a\nSet-Cookie: b")],
        [("X", "a\r\nb")],
        [("X", "a\0")],
        [("X", "\u2028")],
        [("X", 1)],
        [(1, "a")],
        [("", "a")],
    ],
)
def test_heads_are_as_gunicorn_writes_them(headers: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.5)
    outcomes = []
    for kind in (wsgi.Response, WholeResponse):
        sock = Socket()
        request: Any = SimpleNamespace(method="GET", version=(1, 1), should_close=lambda: False)
        response = kind(request, sock, SimpleNamespace(is_ssl=False, sendfile=False))  # type: ignore[arg-type]
        try:
            response.start_response("200 OK", list(headers))
            response.write(b"12345")
            response.close()
            outcomes.append(b"".join(sock.sent))
        except Exception as error:  # noqa: BLE001  # whatever gunicorn raises
            outcomes.append(type(error).__name__.encode())
    assert outcomes[0] == outcomes[1]
