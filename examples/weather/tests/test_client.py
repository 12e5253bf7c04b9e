"""The client, with a real service that fails in all ways. It needs no application and no database."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.api.errors import NotFound
from examples.weather.client import ATTEMPTS, WeatherClient
from examples.weather.problems import UpstreamUnavailable
from examples.weather.settings import WeatherSettings
from examples.weather.tests.upstream import (
    LOOPBACK,
    OBSERVATION,
    PIECE_SECONDS,
    QUICK,
    Request,
    Upstream,
    answer,
    cut,
    observe,
    wait_until,
)
from examples.weather.transport import MAX_BODY_BYTES

# Guards against hanging, five times the deadline of the client.
AT_MOST_SECONDS = 5 * QUICK["total_seconds"]
# In twice that time.
PIECES = int(2 * AT_MOST_SECONDS / PIECE_SECONDS)
within_a_second = pytest.mark.parametrize("timeouts", [QUICK], ids=["quick"])
BODY = json.dumps({"city": "Lisbon", **OBSERVATION}).encode()


def is_unavailable(client: WeatherClient, city: str = "Lisbon") -> bool:
    """Ask for the weather in a city; return whether the client refuses."""
    try:
        client.current(city)
    except UpstreamUnavailable as problem:
        return int(problem.headers()["Retry-After"]) > 0
    return False


def hang(request: Request) -> None:
    """Do not respond. Like the drips below this ends, so that a client without a deadline fails the test."""
    request.service.is_over.wait(2 * AT_MOST_SECONDS)


def drip(data: bytes) -> Callable[[Request], None]:
    """Send these bytes, and then one more from time to time."""

    def respond(request: Request) -> None:
        request.wfile.write(data)
        request.send_slowly([b" "] * PIECES)

    return respond


def drip_headers(request: Request) -> None:
    """Send one header after the other."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    request.send_slowly(b"X-%d: 1\r\n" % number for number in range(PIECES))


def flood(request: Request) -> None:
    """Send a body without end, as fast as possible."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not request.service.is_over.is_set():
        request.wfile.write(b" " * 65_536)


def raw(data: bytes) -> Callable[[Request], None]:
    """Send these bytes and close the connection."""

    def respond(request: Request) -> None:
        request.close_connection = True
        request.wfile.write(data)

    return respond


HEAD = b"HTTP/1.1 200 OK\r\n"
SLOW: dict[str, Callable[[Request], None]] = {
    "no response": hang,
    "a slow status line": drip(b"HTTP/1.1 200 "),
    "slow headers": drip_headers,
    "one slow header": drip(HEAD + b"X: "),
    "a slow body": drip(HEAD + b"Content-Length: 50000\r\n\r\n" + BODY[:-1]),
    "a slow chunk": drip(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2000\r\n" + BODY[:-1]),
    "a slow body of unknown length": drip(HEAD + b"\r\n" + BODY),
}
WRONG: dict[str, Callable[[Request], None]] = {
    "an endless body": flood,
    "a closed connection": cut,
    "a length that is too large": raw(HEAD + b"Content-Length: %d\r\n\r\n" % (len(BODY) + 9) + BODY),
    "a length that is too small": raw(HEAD + b"Content-Length: 9\r\n\r\n" + BODY),
    "a length that is no number": raw(HEAD + b"Content-Length: nine\r\n\r\n" + BODY),
    "a negative length": raw(HEAD + b"Content-Length: -1\r\n\r\n" + BODY),
    "two lengths": raw(HEAD + b"Content-Length: 9\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY),
    "a chunk that ends early": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n2000\r\n" + BODY),
    "a huge body": raw(HEAD + b"\r\n" + BODY + b" " * MAX_BODY_BYTES),
    "no HTTP": raw(b"SSH-2.0-server\r\n"),
    "HTTP/0.9": raw(BODY),
    "a header line that is too long": raw(HEAD + b"X: " + b"a" * 70_000 + b"\r\n\r\n" + BODY),
    "no JSON": answer(200, b"<html>"),
    "JSON that is cut": answer(200, BODY[:-1]),
    "JSON in another encoding": answer(200, BODY.decode().encode("utf-16")),
    "deep JSON": answer(200, b"[" * 20_000),
    "no object": answer(200, b"[]"),
    "no temperature": observe(temperature_c=None),
    "a text as temperature": observe(temperature_c="17.5"),
    "NaN": answer(200, BODY.replace(b"17.5", b"NaN")),
    "a time without offset": observe(observed_at="2026-01-31T12:00:00"),
    "a city with NUL": observe(city="a\0"),
    "an empty body": answer(200, b""),
    "no content": raw(b"HTTP/1.1 204 No Content\r\n\r\n"),
    "a redirect": answer(302, b"", Location="http://127.0.0.1:9/v1/current?city=Lisbon"),
    "a redirect to itself": answer(307, b"", Location="/v1/current?city=Lisbon"),
    "unauthorized": answer(401),
    "too many requests": answer(429, Retry_After="3600"),
    "an error": answer(500, b"Traceback"),
    "an overload": answer(503, Retry_After="1"),
}


@within_a_second
@pytest.mark.parametrize("respond", SLOW.values(), ids=SLOW)
def test_a_service_that_is_too_slow_is_unavailable_in_time(
    weather_client: WeatherClient, upstream: Upstream, respond: Callable[[Request], None]
) -> None:
    upstream.respond = respond
    started = time.monotonic()
    assert is_unavailable(weather_client)
    assert time.monotonic() - started < AT_MOST_SECONDS


@pytest.mark.parametrize("respond", WRONG.values(), ids=WRONG)
def test_a_service_that_answers_wrongly_is_unavailable(
    weather_client: WeatherClient, upstream: Upstream, respond: Callable[[Request], None]
) -> None:
    upstream.respond = respond
    assert is_unavailable(weather_client)


def test_a_host_without_an_address_is_unavailable(
    weather_client: WeatherClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror("Name or service not known")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", fail)
        assert is_unavailable(weather_client)


@within_a_second
def test_a_lookup_that_takes_long_ends_in_time(weather_client: WeatherClient, monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    lookup = socket.getaddrinfo

    def wait(*arguments: Any, **options: Any) -> Any:
        is_over.wait(60)
        return lookup(*arguments, **options)

    started = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", wait)
        assert is_unavailable(weather_client)
    assert time.monotonic() - started < AT_MOST_SECONDS
    is_over.set()


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue of connections is full, so that further ones are neither accepted nor refused."""
    with socket.socket() as listening:
        listening.bind((LOOPBACK, 0))
        listening.listen(0)
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
        for one in waiting:
            one.close()


def test_a_connection_that_is_not_accepted_fails_in_time(full_port: int) -> None:
    client = WeatherClient(WeatherSettings(url=f"http://{LOOPBACK}:{full_port}", **QUICK), retry_seconds=3600)
    started = time.monotonic()
    assert is_unavailable(client)
    assert time.monotonic() - started < AT_MOST_SECONDS


def test_a_failed_attempt_is_repeated(weather_client: WeatherClient, upstream: Upstream) -> None:
    failures = iter([cut, answer(503)])
    upstream.respond = lambda request: next(failures, observe())(request)
    assert weather_client.current("Lisbon").temperature_c == 17.5
    assert upstream.cities == ["Lisbon"] * ATTEMPTS


def test_the_number_of_attempts_is_bounded(weather_client: WeatherClient, upstream: Upstream) -> None:
    upstream.respond = answer(503)
    assert is_unavailable(weather_client)
    assert upstream.cities == ["Lisbon"] * ATTEMPTS


@pytest.mark.parametrize("respond", [answer(200, b"<html>"), answer(307, Location="/v1/current?city=Porto")])
def test_an_answer_is_neither_asked_for_again_nor_followed(
    weather_client: WeatherClient, upstream: Upstream, respond: Callable[[Request], None]
) -> None:
    upstream.respond = respond
    assert is_unavailable(weather_client)
    assert upstream.cities == ["Lisbon"]


@within_a_second
def test_nothing_waits_for_a_service_that_is_down(weather_client: WeatherClient, upstream: Upstream) -> None:
    wait_until(lambda: not is_unavailable(weather_client, "Porto"))
    upstream.respond = hang
    assert is_unavailable(weather_client)
    assert not weather_client.breaker.is_closed()
    asked = upstream.cities.count("Lisbon")
    for _ in range(20):
        assert is_unavailable(weather_client)
    assert upstream.cities.count("Lisbon") == asked
    # The probes ask for a city that the service has answered, because an answer for the other one may never come.
    wait_until(lambda: upstream.cities[-1] == "Porto")
    upstream.respond = lambda request: hang(request) if request.city == "Lisbon" else observe()(request)
    wait_until(lambda: not is_unavailable(weather_client, "Porto"))


@pytest.mark.parametrize("respond", [answer(500), answer(200, b"<html>"), answer(404)])
def test_an_answer_of_any_kind_leaves_the_circuit_closed(
    weather_client: WeatherClient, upstream: Upstream, respond: Callable[[Request], None]
) -> None:
    upstream.respond = respond
    with pytest.raises((NotFound, UpstreamUnavailable)):
        weather_client.current("Lisbon")
    assert weather_client.breaker.is_closed()
