"""The route of weather, with a real service that works, fails, and is back."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from flask import Flask

from app import create_app
from app.components import components_of
from app.database import db
from examples.weather.client import WeatherClient
from examples.weather.examples import StubClient
from examples.weather.settings import WeatherSettings
from examples.weather.tests.conftest import Ask
from examples.weather.tests.upstream import Request, Upstream, answer, cut, observe, wait_until
from gatepost.testing.cast import Clock, Person, problem

UNAVAILABLE = (503, "upstream_unavailable")


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


def test_a_dead_service_is_a_503_until_it_is_back(ask: Ask, upstream: Upstream) -> None:
    upstream.stop()
    for _ in range(3):
        response = ask()
        assert problem(response) == UNAVAILABLE
        assert int(response.headers["Retry-After"]) > 0
    upstream.start()
    wait_until(lambda: ask().status_code == 200)


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
    assert type(components_of(app).services[WeatherClient]) is StubClient
    found = components_of(create_app(components_of(app).settings))
    assert type(found.services[WeatherClient]) is WeatherClient
    assert found.settings.of_features[WeatherSettings].total_seconds == 5


def test_the_document_has_the_problem(alice: Person) -> None:
    document = alice.client.get("/openapi.json").get_json()
    responses = document["paths"]["/api/v1/weather"]["get"]["responses"]
    assert "upstream_unavailable" in json.dumps(responses["503"])
    assert "Retry-After" in responses["503"]["headers"]
    assert alice.client.get("/problems/upstream-unavailable").status_code == 200
