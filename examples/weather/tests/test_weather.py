"""The route of weather, with a real service that fails in all ways."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count, repeat
from typing import Any

import pytest
from flask import Flask

from app.components import components_of
from app.database import db
from examples.weather.client import ATTEMPTS, UpstreamUnavailable, WeatherClient
from examples.weather.settings import WeatherSettings
from examples.weather.tests.conftest import Ask
from examples.weather.tests.upstream import LOOPBACK, OBSERVATION, QUICK, Request, Upstream, answer, observe
from examples.weather.transport import MAX_BODY_BYTES
from tests.conftest import Clock, Person, problem
from tests.security.test_rate_limits import wait_until

UNAVAILABLE = (503, "upstream_unavailable")
# Guards against hanging, five times the deadline of the client.
AT_MOST_SECONDS = 5 * QUICK["total_seconds"]
within_a_second = pytest.mark.parametrize("timeouts", [QUICK], ids=["quick"])
BODY = json.dumps({"city": "Lisbon", **OBSERVATION}).encode()


def test_the_weather_is_that_of_the_other_service(ask: Ask) -> None:
    response = ask("São Tomé & Príncipe")
    assert response.status_code == 200
    assert response.get_json() == {
        "city": "São Tomé & Príncipe",
        "temperature_c": 17.5,
        "observed_at": "2026-01-31T12:00:00.000000Z",
        "is_stale": False,
    }
    assert response.headers["Cache-Control"] == "no-store"
    assert ask("São Tomé & Príncipe", **{"If-None-Match": response.headers["ETag"]}).status_code == 304


def test_who_may_ask_for_what(ask: Ask, weather_app: Flask, upstream: Upstream) -> None:
    assert problem(weather_app.test_client().get("/api/v1/weather?city=Lisbon"))[0] == 401
    for city in ("", " ", "a\0b", "x" * 201, "\u202elisbon"):
        response = ask(city)
        assert (problem(response), list(response.get_json()["errors"])) == ((422, "validation_error"), ["city"])
    assert upstream.cities == []


def test_an_unknown_city_is_not_found(ask: Ask, upstream: Upstream) -> None:
    upstream.respond = answer(404, b"nothing that anyone reads")
    assert problem(ask("Atlantis")) == (404, "not_found")
    assert upstream.cities == ["Atlantis"]


def hang(request: Request) -> None:
    """Never respond."""
    request.service.is_over.wait()


def drip(data: bytes) -> Callable[[Request], None]:
    """Send these bytes and then one more from time to time, for ever."""

    def respond(request: Request) -> None:
        request.wfile.write(data)
        request.send_slowly(repeat(b" "))

    return respond


def drip_headers(request: Request) -> None:
    """Send headers without end."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    request.send_slowly(b"X-%d: 1\r\n" % number for number in count())


def flood(request: Request) -> None:
    """Send a body without end, as fast as possible."""
    request.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
    while not request.service.is_over.is_set():
        request.wfile.write(b" " * 65_536)


def cut(request: Request) -> None:
    """Close the connection without a response."""
    request.close_connection = True
    request.connection.shutdown(socket.SHUT_RDWR)


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
    "a huge body": answer(200, BODY + b" " * MAX_BODY_BYTES),
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
def test_a_service_that_is_too_slow_is_a_503_in_time(
    ask: Ask, upstream: Upstream, respond: Callable[[Request], None]
) -> None:
    upstream.respond = respond
    started = time.monotonic()
    assert problem(ask()) == UNAVAILABLE
    assert time.monotonic() - started < AT_MOST_SECONDS


@pytest.mark.parametrize("respond", WRONG.values(), ids=WRONG)
def test_a_wrong_answer_is_a_503(ask: Ask, upstream: Upstream, respond: Callable[[Request], None]) -> None:
    upstream.respond = respond
    response = ask()
    assert problem(response) == UNAVAILABLE
    assert int(response.headers["Retry-After"]) > 0
    assert "Traceback" not in response.text
    assert 1 <= upstream.cities.count("Lisbon") <= 2 * ATTEMPTS


def test_a_dead_service_is_a_503_until_it_is_back(ask: Ask, upstream: Upstream) -> None:
    upstream.stop()
    for _ in range(3):
        assert problem(ask()) == UNAVAILABLE
    upstream.start()
    wait_until(lambda: ask().status_code == 200)


def test_a_host_without_an_address_is_a_503(
    ask: Ask, weather_client: WeatherClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise socket.gaierror("Name or service not known")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", fail)
        assert problem(ask()) == UNAVAILABLE


@within_a_second
def test_a_lookup_that_takes_long_is_a_503_in_time(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    is_over = threading.Event()
    lookup = socket.getaddrinfo

    def wait(*arguments: Any, **options: Any) -> Any:
        is_over.wait(60)
        return lookup(*arguments, **options)

    started = time.monotonic()
    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", wait)
        assert problem(ask()) == UNAVAILABLE
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
    with pytest.raises(UpstreamUnavailable):
        client.current("Lisbon")
    assert time.monotonic() - started < AT_MOST_SECONDS


def test_a_failed_attempt_is_repeated(ask: Ask, upstream: Upstream) -> None:
    failures = iter([cut, answer(503)])
    upstream.respond = lambda request: next(failures, observe())(request)
    assert ask().status_code == 200
    assert upstream.cities == ["Lisbon"] * ATTEMPTS


def test_an_answer_that_is_no_observation_is_not_asked_for_again(ask: Ask, upstream: Upstream) -> None:
    upstream.respond = answer(200, b"<html>")
    assert problem(ask()) == UNAVAILABLE
    assert upstream.cities == ["Lisbon"]


@within_a_second
def test_nothing_waits_for_a_service_that_is_down(ask: Ask, upstream: Upstream, weather_client: WeatherClient) -> None:
    wait_until(lambda: ask("Porto").status_code == 200)
    upstream.respond = hang
    assert problem(ask()) == UNAVAILABLE
    assert not weather_client.breaker.is_closed()
    asked = upstream.cities.count("Lisbon")
    for _ in range(20):
        assert problem(ask()) == UNAVAILABLE
    assert upstream.cities.count("Lisbon") == asked
    # The probes ask for a city that the service has answered, because an answer for the other one may never come.
    wait_until(lambda: upstream.cities[-1] == "Porto")
    upstream.respond = lambda request: hang(request) if request.city == "Lisbon" else observe()(request)
    wait_until(lambda: ask("Porto").status_code == 200)


@pytest.mark.parametrize("respond", [answer(500), answer(200, b"<html>"), answer(404)])
def test_an_answer_of_any_kind_leaves_the_circuit_closed(
    ask: Ask, upstream: Upstream, weather_client: WeatherClient, respond: Callable[[Request], None]
) -> None:
    upstream.respond = respond
    assert ask().status_code in (404, 503)
    assert weather_client.breaker.is_closed()


def test_no_connection_to_the_database_is_held_meanwhile(ask: Ask, weather_app: Flask, upstream: Upstream) -> None:
    with weather_app.app_context():
        pool = db.engine.pool
    held: list[int] = []

    def respond(request: Request) -> None:
        held.append(pool.checkedout())  # type: ignore[attr-defined]  # of QueuePool
        observe()(request)

    upstream.respond = respond
    assert ask().status_code == 200
    assert held == [0]


def test_a_stored_answer_is_used_while_it_is_fresh(ask: Ask, upstream: Upstream, clock: Clock) -> None:
    upstream.respond = observe("max-age=60")
    first = ask()
    upstream.respond = observe("max-age=60", temperature_c=20)
    clock.forward(seconds=59)
    assert ask().get_json() == first.get_json()
    assert ask("Porto").get_json()["temperature_c"] == 20
    clock.forward(seconds=1)
    assert ask().get_json()["temperature_c"] == 20
    assert upstream.cities == ["Lisbon", "Porto", "Lisbon"]


@pytest.mark.parametrize("respond", [cut, answer(500), answer(200, b"<html>"), answer(302, Location="/")])
def test_a_stale_answer_is_shown_while_the_service_fails(
    ask: Ask, upstream: Upstream, clock: Clock, respond: Callable[[Request], None]
) -> None:
    upstream.respond = observe("max-age=60")
    fresh = ask().get_json()
    clock.forward(days=1)
    upstream.respond = respond
    for _ in range(2):
        response = ask()
        assert (response.status_code, response.get_json()) == (200, {**fresh, "is_stale": True})
    assert problem(ask("Porto")) == UNAVAILABLE
    upstream.respond = observe("max-age=60")
    wait_until(lambda: ask().get_json() == fresh)


@pytest.mark.parametrize("directive", ["must-revalidate", "no-store", "no-cache", "private", "stale-if-error=30"])
def test_a_stale_answer_is_not_shown_where_cache_control_forbids_it(
    ask: Ask, upstream: Upstream, clock: Clock, directive: str
) -> None:
    upstream.respond = observe(f"max-age=60, {directive}")
    assert ask().status_code == 200
    clock.forward(seconds=91)
    upstream.stop()
    assert problem(ask()) == UNAVAILABLE


def test_an_unknown_city_is_stored_too_but_not_shown_stale(ask: Ask, upstream: Upstream, clock: Clock) -> None:
    upstream.respond = answer(404, Cache_Control="max-age=60")
    for _ in range(3):
        assert problem(ask("Atlantis")) == (404, "not_found")
    assert upstream.cities == ["Atlantis"]
    clock.forward(seconds=61)
    upstream.stop()
    assert problem(ask("Atlantis")) == UNAVAILABLE


def test_the_client_of_the_settings_is_provided_unless_another_one_is_given(app: Flask) -> None:
    found = components_of(app)
    assert type(found.services[WeatherClient]) is WeatherClient
    assert found.settings.of_features[WeatherSettings].total_seconds == 5


def test_the_document_has_the_problem(alice: Person) -> None:
    document = alice.client.get("/openapi.json").get_json()
    responses = document["paths"]["/api/v1/weather"]["get"]["responses"]
    assert "upstream_unavailable" in json.dumps(responses["503"])
    assert "Retry-After" in responses["503"]["headers"]
    assert alice.client.get("/problems/upstream-unavailable").status_code == 200
