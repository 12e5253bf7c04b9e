"""The client of the weather service: deadlines, retries, a circuit breaker, and stored answers."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from http.client import HTTPException
from urllib.parse import quote, urlencode

import orjson
from flask import Flask
from marshmallow import ValidationError

from app.api.errors import NotFound
from app.components import provide, utc_now
from app.database.circuit_breaker import CircuitBreaker
from app.settings import Settings
from examples.weather.problems import UpstreamUnavailable
from examples.weather.schemas import OBSERVATION
from examples.weather.settings import WeatherSettings
from examples.weather.store import AnswerStore
from examples.weather.transport import Deadline, Limits, Reply, get

STORED_CITIES = 1000
ATTEMPTS = 3
# Before the second attempt at most this, before the third twice as much.
PAUSE_SECONDS = 0.1
# While the other service is down, it is tried again this often.
RETRY_SECONDS = 1.0


class UpstreamFailed(Exception):
    """There is no answer from the weather service, or it is not an observation."""


@dataclass(frozen=True, slots=True)
class Weather:
    """The weather in a city at a time. `is_stale` if a newer observation could not be fetched."""

    city: str
    temperature_c: float
    observed_at: datetime
    is_stale: bool = False


class WeatherClient:
    """Asks the weather service. It connects only when it is used.

    One object serves all threads of a process. Each process stores answers, and finds out about an outage, on its own.
    """

    def __init__(self, settings: WeatherSettings, *, retry_seconds: float = RETRY_SECONDS) -> None:
        self._settings = settings
        # None for a city that does not exist.
        self._answers: AnswerStore[Weather | None] = AnswerStore(STORED_CITIES)
        self._probed_city = ""
        self.breaker = CircuitBreaker("weather", self._probe, retry_seconds=retry_seconds)

    def current(self, city: str) -> Weather:
        """Return the weather in a city: a stored observation if it is fresh, else a new one, else a stale one.

        Raises NotFound if there is no such city, and UpstreamUnavailable. Takes at most WEATHER_TOTAL_SECONDS.
        """
        now = utc_now()
        stored = self._answers.find(city)
        if stored is not None and now < stored.fresh_until:
            return _require_known(stored.answer)
        try:
            return _require_known(self._ask(city, now))
        except UpstreamFailed as error:
            if stored is None or stored.answer is None or now >= stored.stale_until:
                raise UpstreamUnavailable from error
            return replace(stored.answer, is_stale=True)

    def _ask(self, city: str, now: datetime) -> Weather | None:
        """Fetch an answer and store it. Raises UpstreamFailed."""
        if not self.breaker.is_closed():
            raise UpstreamFailed("The circuit is open.")
        try:
            reply = self._fetch_repeatedly(city)
            weather = _read(reply)
        except (OSError, HTTPException) as error:
            # A service that has answered with an error does not make others wait, so the circuit stays closed for it.
            self._probed_city = self._probed_city or city
            self.breaker.open(error)
            raise UpstreamFailed(type(error).__name__) from error
        self._answers.keep(city, weather, reply.headers, now)
        self._probed_city = city
        return weather

    def _fetch_repeatedly(self, city: str) -> Reply:
        """Return the first response that is not an error of the server, or the last one. Raises as `get` does.

        A GET request can be repeated without an effect. The pauses are random, so that the requests of many threads and
        processes do not arrive together again.
        """
        deadline = Deadline(self._settings.total_seconds)
        for attempt in range(1, ATTEMPTS):
            with suppress(OSError, HTTPException):
                reply = self._fetch(city, deadline)
                if reply.status < 500:
                    return reply
            time.sleep(deadline.remaining(at_most=random.uniform(0, PAUSE_SECONDS * attempt)))  # noqa: S311
        return self._fetch(city, deadline)

    def _fetch(self, city: str, deadline: Deadline) -> Reply:
        query = urlencode({"city": city}, quote_via=quote)
        limits = Limits(self._settings.connect_seconds, self._settings.read_seconds, deadline)
        return get(f"{self._settings.url}/current?{query}", limits)

    def _probe(self) -> None:
        """Raise if the service does not respond.

        It is asked for the city that it has answered last. If it were that of the failed request, a city that no answer
        ever comes for would keep the circuit open for all others.
        """
        _read(self._fetch(self._probed_city, Deadline(self._settings.total_seconds)))


def _read(reply: Reply) -> Weather | None:
    """Return the observation in a response, None if there is no such city. Raises UpstreamFailed."""
    if reply.status == 404:
        return None
    if reply.status != 200:
        raise UpstreamFailed(f"The status is {reply.status}.")
    try:
        return Weather(**OBSERVATION.load(orjson.loads(reply.body)))
    except (ValueError, ValidationError) as error:
        raise UpstreamFailed("The body is not an observation.") from error


def _require_known(weather: Weather | None) -> Weather:
    if weather is None:
        raise NotFound("The weather service knows no city of this name.")
    return weather


def init_app(app: Flask, settings: Settings) -> None:
    """Provide the client for the application, unless create_app() was given another one."""
    provide(app, WeatherClient, lambda: WeatherClient(settings.of_features[WeatherSettings]))
