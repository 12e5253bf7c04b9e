"""Requests and answers as bytes on a TCP connection, and connections that a chosen worker has accepted."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

import psutil

from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.gatepost import GatepostServer

ORIGIN = "https://app.example.com"
# Guards against hanging: far more than any answer needs on a busy machine.
TIMEOUT_SECONDS = 60
WAIT_SECONDS = 60
MAX_ROUNDS = 40
CONNECTIONS_PER_ROUND = 4


@dataclass(frozen=True)
class Answer:
    """One HTTP response. The names of `headers` are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        """The document in the body."""
        return json.loads(self.body)

    @property
    def outcome(self) -> tuple[int, str]:
        """The status, and the code of a problem document; "" for any other body."""
        is_problem = self.headers.get("content-type") == "application/problem+json"
        return self.status, self.json["code"] if is_problem else ""


def request(line: str, *headers: str, body: bytes | str = b"") -> bytes:
    """Return the bytes of a request with these header lines and a Host."""
    head = "\r\n".join([line, "Host: gatepost.test", *headers, "", ""])
    return head.encode("latin-1") + (body.encode() if isinstance(body, str) else body)


def json_request(method: str, target: str, body: object, *headers: str) -> bytes:
    """Return the bytes of a request with a JSON body and its Content-Length."""
    data = json.dumps(body).encode()
    fields = ("Content-Type: application/json", f"Content-Length: {len(data)}", *headers)
    return request(f"{method} {target} HTTP/1.1", *fields, body=data)


def bearer(token: str) -> str:
    """Return the header line that carries an access or refresh token."""
    return f"Authorization: Bearer {token}"


class Connection:
    """One TCP connection to a server; a context manager."""

    def __init__(self, server: GatepostServer, port: int | None = None) -> None:
        """Connect to the server, or to the `port` of a proxy in front of it."""
        self._socket = socket.create_connection((LOOPBACK, port or server.port), timeout=TIMEOUT_SECONDS)
        self._stream = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def local_port(self) -> int:
        """The client's own port, by which the server's end can be found."""
        return int(self._socket.getsockname()[1])

    def send(self, data: bytes) -> None:
        """Send bytes; a server that has refused a request may already have closed its end."""
        with contextlib.suppress(ConnectionError):
            self._socket.sendall(data)

    def end_sending(self) -> None:
        """Close this end for writing, as a client that sends nothing more."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Close the connection so that the server's end receives RST, as after a crash of the client."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.close()

    def receive(self, *, has_body: bool = True) -> Answer | None:
        """Return the next answer, without any 100 Continue; None if the server closed the connection instead."""
        try:
            line = self._stream.readline()
            if not line:
                return None
            headers = http.client.parse_headers(self._stream)
            body = self._receive_body(headers) if has_body else b""
        except ConnectionError:
            return None
        status = int(line.split()[1])
        if status == http.HTTPStatus.CONTINUE:
            return self.receive(has_body=has_body)
        return Answer(status, {name.lower(): value for name, value in headers.items()}, body)

    def _receive_body(self, headers: http.client.HTTPMessage) -> bytes:
        if headers.get("Transfer-Encoding") != "chunked":
            return self._stream.read(int(headers.get("Content-Length", 0)))
        parts = []
        while size := int(self._stream.readline(), 16):
            parts.append(self._stream.read(size))
            self._stream.readline()
        self._stream.readline()
        return b"".join(parts)

    def receive_some(self, size: int) -> bytes:
        """Return the next bytes as they are."""
        return self._stream.read(size)

    def ask(self, data: bytes, *, has_body: bool = True) -> Answer:
        """Send a request and return its answer, which must come."""
        self.send(data)
        answer = self.receive(has_body=has_body)
        assert answer is not None, f"no answer to {data[:200]!r}"
        return answer

    def is_closed_by_server(self) -> bool:
        """Wait for the end of the connection; False if the server sends something first."""
        try:
            return self._stream.read(1) == b""
        except ConnectionError:
            return True

    def close(self) -> None:
        """Close this end."""
        self._stream.close()
        self._socket.close()


def ask(server: GatepostServer, data: bytes, *, end_sending: bool = False) -> Answer | None:
    """Send bytes on a connection of their own; return the first answer, or None if the server closed it instead."""
    with Connection(server) as connection:
        connection.send(data)
        if end_sending:
            connection.end_sending()
        return connection.receive()


def get(server: GatepostServer, target: str, *headers: str) -> Answer:
    """GET a target on a connection of its own."""
    with Connection(server) as connection:
        return connection.ask(request(f"GET {target} HTTP/1.1", "Connection: close", *headers))


def is_up(server: GatepostServer) -> bool:
    """Whether a new connection gets an answer from the health probe."""
    return get(server, "/health").status == http.HTTPStatus.OK


def wait_until(holds: Callable[[], bool], reason: str) -> None:
    """Wait until something holds, for as long as a busy machine may need; fails with `reason`."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not holds():
        assert time.monotonic() < deadline, reason
        time.sleep(0.02)


def find_owners(pids: Iterable[int]) -> dict[int, int]:
    """Return which worker has accepted which connection: process ids by the ports of the clients."""
    owners = {}
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            for found in psutil.Process(pid).net_connections("tcp4"):
                # A socket that listens has no peer.
                if port := getattr(found.raddr, "port", None):
                    owners[port] = pid
    return owners


@contextlib.contextmanager
def connections_to_workers(server: GatepostServer) -> Iterator[list[Connection]]:
    """Open connections until each worker has accepted one, which the kernel decides; yields one for each worker."""
    pids = set(server.worker_pids())
    found: dict[int, Connection] = {}
    with contextlib.ExitStack() as stack:
        for _ in range(MAX_ROUNDS):
            connections = [stack.enter_context(Connection(server)) for _ in range(CONNECTIONS_PER_ROUND)]
            for connection in connections:
                assert connection.ask(request("GET /health HTTP/1.1")).status == http.HTTPStatus.OK
            owners = find_owners(pids)
            found = {owners[c.local_port]: c for c in connections if c.local_port in owners} | found
            if found.keys() >= pids:
                break
        assert found.keys() == pids == set(server.worker_pids()), f"{found.keys()} of {pids} accepted a connection"
        yield list(found.values())
