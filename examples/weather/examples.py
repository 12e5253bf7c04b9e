"""Requests with the statuses that the document promises, for the conformance tests."""

from __future__ import annotations

from datetime import UTC, datetime

from app.api.errors import NotFound
from app.features import Call, Examples
from examples.weather.client import Weather, WeatherClient
from examples.weather.problems import UpstreamUnavailable


class StubClient(WeatherClient):
    """Knows the weather of one city without asking for it. One city exists while the weather service is down."""

    def __init__(self) -> None:
        # Without settings, because it makes no request.
        pass

    def current(self, city: str) -> Weather:
        if city == "Lisbon":
            return Weather(city, 17.5, datetime(2026, 1, 31, 12, tzinfo=UTC))
        raise UpstreamUnavailable if city == "Porto" else NotFound


UNCHANGED = {"If-None-Match": "*"}

EXAMPLES = Examples(
    services={WeatherClient: StubClient},
    calls=(
        Call(operation="get_weather", status=200, request="GET /weather?city=Lisbon", by="alice"),
        Call(operation="get_weather", status=304, request="GET /weather?city=Lisbon", by="bob", headers=UNCHANGED),
        Call(operation="get_weather", status=401, request="GET /weather?city=Lisbon"),
        Call(operation="get_weather", status=404, request="GET /weather?city=Atlantis", by="alice"),
        Call(operation="get_weather", status=422, request="GET /weather", by="alice"),
        Call(operation="get_weather", status=503, request="GET /weather?city=Porto", by="alice"),
    ),
)
