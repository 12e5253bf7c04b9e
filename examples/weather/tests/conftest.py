"""The weather service of the tests, and an application that asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask

from app import create_app
from app.components import components_of
from app.database import db
from examples.weather.client import WeatherClient
from examples.weather.tests.upstream import PATIENT, Timeouts, Upstream, observe, wait_until
from gatepost.testing.cast import Person

Ask = Callable[..., Any]


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A weather service that works."""
    service = Upstream()
    yield service
    service.close()


@pytest.fixture
def timeouts() -> Timeouts:
    """The timeouts of the client. A test that waits for their end has QUICK as its parameter in place of these."""
    return PATIENT


@pytest.fixture
def weather_client(upstream: Upstream, timeouts: Timeouts) -> Iterator[WeatherClient]:
    """A client of the weather service."""
    made = WeatherClient(upstream.settings(timeouts), retry_seconds=0.02)
    yield made
    # Otherwise a probe would go on asking.
    if not made.breaker.is_closed():
        upstream.stop()
        upstream.respond = observe()
        upstream.start()
        wait_until(made.breaker.is_closed)


@pytest.fixture
def weather_app(app: Flask, weather_client: WeatherClient) -> Iterator[Flask]:
    """An application with this client, on the shared database."""
    other = create_app(components_of(app).settings, services={WeatherClient: weather_client})
    yield other
    with other.app_context():
        db.engine.dispose()
        components_of(other).probe_engine.dispose()


@pytest.fixture
def ask(weather_app: Flask, alice: Person) -> Ask:
    """Return a function that asks for the weather as Alice."""

    def get(city: str = "Lisbon", **headers: str) -> Any:
        return weather_app.test_client().get(
            "/api/v1/weather", query_string={"city": city}, headers={**alice.headers, **headers}
        )

    return get
