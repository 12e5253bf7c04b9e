"""HTTP GET requests with a deadline, over the HTTP client of the standard library.

The timeouts of HTTP clients, this one included, begin anew with each piece that arrives, and do not apply to the lookup
of an address. A server that sends a byte each second would occupy a thread of this service for hours.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_BODY_BYTES = 65_536
# `getaddrinfo` has no timeout, but it can be left waiting in a thread. These begin with the first lookup, and therefore
# after the server has forked its workers.
_RESOLVER = ThreadPoolExecutor(4, "weather-resolver")


class Deadline:
    """A time by which something must have ended."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds

    def remaining(self, at_most: float) -> float:
        """Return the seconds until the deadline, at most `at_most`. Raises TimeoutError after it."""
        seconds = self._ends_at - time.monotonic()
        if seconds <= 0:
            raise TimeoutError("The deadline has passed.")
        return min(seconds, at_most)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a request may take: to connect, to receive the next piece, and until its deadline."""

    connect_seconds: float
    read_seconds: float
    deadline: Deadline


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def get(url: str, limits: Limits) -> Reply:
    """Send one GET request on a new connection and return the response. Redirects are not followed.

    Raises OSError, of which TimeoutError is a subclass, and HTTPException for what is not a complete HTTP response, or
    one of more than MAX_BODY_BYTES.
    """
    parts = urlsplit(url)
    connection = _Connection(str(parts.hostname), parts.port, parts.scheme == "https", limits)
    try:
        connection.request("GET", f"{parts.path}?{parts.query}", headers={"Accept": "application/json"})
        response = connection.getresponse()
        body = response.read(MAX_BODY_BYTES + 1)
        headers: dict[str, str] = {}
        for name, value in response.getheaders():
            # A header that is repeated has the same meaning as one with all values (RFC 9110 section 5.3).
            name = name.lower()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
    finally:
        connection.disconnect()
    if len(body) > MAX_BODY_BYTES:
        raise HTTPException("The body is too large.")
    # Given a number of bytes to read, the library returns what there is, also if the connection has ended too early.
    if "transfer-encoding" not in headers and headers.get("content-length", str(len(body))) != str(len(body)):
        raise HTTPException("The body has another length than Content-Length.")
    return Reply(response.status, headers, body)


class _Connection(HTTPConnection):
    """A connection whose every step ends by the deadline."""

    def __init__(self, host: str, port: int | None, is_tls: bool, limits: Limits) -> None:
        super().__init__(host, port or (443 if is_tls else 80))
        self._is_tls = is_tls
        self._limits = limits
        self._socket: socket.socket | None = None

    def connect(self) -> None:
        limits = self._limits
        connecting = Deadline(limits.deadline.remaining(limits.connect_seconds))
        self._socket = _open(self.host, self.port, connecting)
        if self._is_tls:
            self._socket.settimeout(connecting.remaining(limits.connect_seconds))
            self._socket = _tls_context().wrap_socket(self._socket, server_hostname=self.host)
        self.sock = cast("socket.socket", _BoundedSocket(self._socket, limits))

    def disconnect(self) -> None:
        """Close the connection. Unlike `close`, which the library calls before it has read the whole response."""
        if self._socket is not None:
            self._socket.close()


class _BoundedSocket:
    """What HTTPConnection uses of a socket."""

    def __init__(self, connected: socket.socket, limits: Limits) -> None:
        self._socket = connected
        self._limits = limits

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self._limits.deadline.remaining(self._limits.read_seconds))
        self._socket.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._socket, self._limits))

    def close(self) -> None:
        """Do nothing: `disconnect` closes the socket."""


class _Reader(io.RawIOBase):
    """Reads from a socket. Each read waits for `read_seconds`, and not past the deadline."""

    def __init__(self, connected: socket.socket, limits: Limits) -> None:
        super().__init__()
        self._socket = connected
        self._limits = limits

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        self._socket.settimeout(self._limits.deadline.remaining(self._limits.read_seconds))
        return self._socket.recv_into(buffer)


@cache
def _tls_context() -> ssl.SSLContext:
    return ssl.create_default_context()


def _open(host: str, port: int, connecting: Deadline) -> socket.socket:
    """Return a socket that is connected to the first address of the host that accepts."""
    lookup = _RESOLVER.submit(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        addresses = lookup.result(connecting.remaining(float("inf")))
    finally:
        lookup.cancel()
    failure: OSError = OSError("The host has no address.")
    for family, kind, protocol, _, address in addresses:
        connected = socket.socket(family, kind, protocol)
        try:
            connected.settimeout(connecting.remaining(float("inf")))
            connected.connect(address)
        except OSError as error:
            connected.close()
            failure = error
        else:
            return connected
    raise failure
