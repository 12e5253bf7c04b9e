"""A weather service on the loopback interface that can be slow, wrong, or gone."""

from __future__ import annotations

import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from examples.weather.settings import WeatherSettings

Timeouts = dict[str, float]
LOOPBACK = "127.0.0.1"
OBSERVATION: Mapping[str, Any] = {"temperature_c": 17.5, "observed_at": "2026-01-31T12:00:00Z"}
# Between the pieces of a slow response: shorter than the client waits for a piece.
PIECE_SECONDS = 0.02
# For tests that wait until a time is over.
QUICK: Timeouts = {"connect_seconds": 0.4, "read_seconds": 0.4, "total_seconds": 1.0}
# For all others: on a machine that is busy with other things a request must be slow rather than fail.
PATIENT: Timeouts = {"connect_seconds": 60.0, "read_seconds": 60.0, "total_seconds": 60.0}


def wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition. `seconds` is a guard against hanging."""
    ends_at = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends_at, "The condition did not become true in time."
        time.sleep(PIECE_SECONDS)


class Upstream:
    """The service. `respond` is called for each request, and can be replaced; `cities` are those it was asked for."""

    def __init__(self) -> None:
        self.cities: list[str] = []
        self.respond: Callable[[Request], None] = observe()
        self.is_over = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    def start(self, tls: ssl.SSLContext | None = None) -> None:
        """Listen, on the same port as before."""
        upstream = self

        class Handler(Request):
            service = upstream

        self._server = ThreadingHTTPServer((LOOPBACK, self.port), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def close(self) -> None:
        """End all responses, and stop."""
        self.is_over.set()
        self.stop()

    def settings(self, timeouts: Timeouts) -> WeatherSettings:
        """Return the settings of a client of this service."""
        return WeatherSettings(url=f"http://{LOOPBACK}:{self.port}/v1", **timeouts)


class Request(BaseHTTPRequestHandler):
    """A request, with functions to respond to it."""

    service: Upstream
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.city = parse_qs(parts.query)["city"][0]
        if parts.path != "/v1/current":
            self.send(404, b"{}")
            return
        self.service.cities.append(self.city)
        # The client may close the connection before the response has ended.
        with suppress(OSError):
            self.service.respond(self)

    def send(self, status: int, body: bytes, **headers: str) -> None:
        """Send a response. An underscore in the name of a header is a hyphen."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def send_slowly(self, data: Iterable[bytes]) -> None:
        """Send pieces, each so soon after the other that no timeout for a piece ends."""
        for piece in data:
            if self.service.is_over.wait(PIECE_SECONDS):
                return
            self.wfile.write(piece)
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the name of the library
        """Log nothing."""


def observe(cache_control: str = "", **members: Any) -> Callable[[Request], None]:
    """Return a function that responds with the weather of the city."""

    def respond(request: Request) -> None:
        body = {"city": request.city, **OBSERVATION, **members}
        headers = {"Cache_Control": cache_control} if cache_control else {}
        request.send(200, json.dumps(body).encode(), **headers)

    return respond


def answer(status: int, body: bytes = b"{}", **headers: str) -> Callable[[Request], None]:
    """Return a function that responds with these."""
    return lambda request: request.send(status, body, **headers)


def cut(request: Request) -> None:
    """Close the connection without a response."""
    request.close_connection = True
    request.connection.shutdown(socket.SHUT_RDWR)
