"""A client and an application for both sides of nginx, with access to every byte and header."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from gatepost.testing.services import LOOPBACK

# Guards against hanging, not expectations.
TIMEOUT_SECONDS = 60
PATIENCE_SECONDS = 60
ORIGIN = "https://app.example.com"


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until a condition holds. Fails after PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.05)


@dataclass(frozen=True)
class Answer:
    """One HTTP response."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the parsed JSON body."""
        return json.loads(self.body)

    def only(self, name: str) -> str:
        """Return the value of a header that occurs exactly once."""
        values = self.headers.get_all(name, [])
        assert len(values) == 1, f"{name}: {values}"
        return str(values[0])


def call(
    port: int,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    payload: Any = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """Send one request on a new connection, with `payload` as JSON, and return the response."""
    fields = dict(headers or {})
    if payload is not None:
        body, fields["Content-Type"] = json.dumps(payload).encode(), "application/json"
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=TIMEOUT_SECONDS)
    if tls is not None:
        connection = http.client.HTTPSConnection("localhost", port, timeout=TIMEOUT_SECONDS, context=tls)
    with contextlib.closing(connection):
        connection.request(method, target, body, fields)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())


def send(port: int, request: bytes) -> Answer:
    """Send exactly these bytes on a new connection, and return the response."""
    with socket.create_connection((LOOPBACK, port), timeout=TIMEOUT_SECONDS) as connection:
        connection.sendall(request)
        response = http.client.HTTPResponse(connection, method=request.split(b" ", 1)[0].decode("latin-1"))
        with contextlib.closing(response):
            response.begin()
            return Answer(response.status, response.headers, response.read())


@dataclass(frozen=True)
class Seen:
    """A request as the application received it."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes
    connection: int
    at: float = field(default_factory=time.monotonic)

    def all(self, name: str) -> list[str]:
        """Return every value of a header."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


def plain(seen: Seen) -> bytes | None:
    """Return a 200 response with a short JSON body."""
    return response(b'{"ok":true}')


def response(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    """Return the bytes of a complete response that keeps the connection open."""
    lines = [
        f"HTTP/1.1 {status}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *filter(None, fields),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Application:
    """A server in place of the application. `behave` returns the response to a request, or None to close."""

    def __init__(self, behave: Callable[[Seen], bytes | None] = plain) -> None:
        self.behave = behave
        self.seen: list[Seen] = []
        self.sent_at: list[float] = []
        self.connections = 0
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"{LOOPBACK}:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        # close() alone would not end accept() in the other thread.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for connection in [self._listener, *self._open]:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections += 1
                self._open.append(connection)
                threading.Thread(target=self._serve, args=(connection, self.connections), daemon=True).start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        # In some tests the client or the server closes the connection.
        with contextlib.suppress(OSError, ValueError), connection, connection.makefile("rb") as stream:
            for seen in _requests(stream, number):
                self.seen.append(seen)
                answer = self.behave(seen)
                if answer is None:
                    return
                connection.sendall(answer)
                self.sent_at.append(time.monotonic())


def _requests(stream: Any, number: int) -> Iterator[Seen]:
    while line := stream.readline().decode("latin-1").strip():
        method, target, _ = line.split(" ")
        headers = []
        while field_line := stream.readline().decode("latin-1").strip():
            name, _, value = field_line.partition(":")
            headers.append((name, value.strip()))
        length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
        yield Seen(method, target, headers, stream.read(length), number)
