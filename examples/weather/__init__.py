"""The feature of weather: observations of another service, over HTTP."""

from __future__ import annotations

from app.features import Feature
from examples.weather import client
from examples.weather.examples import EXAMPLES
from examples.weather.settings import WeatherSettings
from examples.weather.views import weather

feature = Feature(name="weather", api=(weather,), settings=WeatherSettings, init_app=client.init_app, examples=EXAMPLES)
