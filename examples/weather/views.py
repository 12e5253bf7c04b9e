"""The HTTP route of weather."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.api.access import SIGNED_IN, Caller
from app.api.errors import NotFound
from app.api.responses import ok
from app.api.routing import Api
from app.components import service
from examples.weather.client import Weather, WeatherClient
from examples.weather.problems import UpstreamUnavailable
from examples.weather.schemas import WEATHER, WeatherQuery

weather = Api("weather", __name__)


@weather.operation(
    "GET",
    "/weather",
    access=SIGNED_IN,
    query=WeatherQuery(),
    answer=ok(WEATHER),
    problems=(NotFound, UpstreamUnavailable),
)
def get_weather(caller: Caller, query: Mapping[str, Any]) -> Weather:
    """Read the current weather in a city, or the latest known if `is_stale`."""
    # The endpoint has read the caller, and has given the connection back: no transaction is open while this waits.
    return service(WeatherClient).current(query["city"])
