"""The settings of weather, whose variables begin with WEATHER_."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from app.settings.environment import InvalidValue
from app.settings.metadata import setting
from app.settings.parsers import Decimal

GROUP = "Weather"
NOT_A_URL = "Must be a URL such as https://weather.example.com/v1, without a password or a query."


def parse_http_url(text: str) -> str:
    """Return the URL of a service, without a slash at its end."""
    try:
        parts = urlsplit(text)
        has_more = parts.username or parts.password or parts.query or parts.fragment or parts.port == 0
    except ValueError as error:
        raise InvalidValue(NOT_A_URL) from error
    if has_more or not parts.hostname or not re.fullmatch(r"https?://[!-~]{1,500}", text):
        raise InvalidValue(NOT_A_URL)
    return text.rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeatherSettings:
    """Where the weather comes from, and how long a request may wait for it."""

    url: str = setting(
        GROUP,
        parse_http_url,
        "http://localhost:8090",
        is_required=True,
        help="URL of the weather service; it answers `/current?city=` below it.",
    )
    connect_seconds: float = setting(
        GROUP, Decimal(0.05, 5), 1.0, help="Time for the lookup of its address, the connection and the TLS handshake."
    )
    read_seconds: float = setting(GROUP, Decimal(0.05, 5), 2.0, help="Time that it may send nothing.")
    # At most 5, so that each response takes less than 6 seconds.
    total_seconds: float = setting(GROUP, Decimal(0.05, 5), 5.0, help="Time for all attempts of one request together.")
