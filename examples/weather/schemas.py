"""What clients send and get, and what the other service answers."""

from __future__ import annotations

from marshmallow import EXCLUDE, Schema, fields

from app.api.fields import DateTime, InputSchema, Number, OutputSchema, Title

CITY_LENGTH = 200
CITY = {"description": "The name of the city.", "example": "Lisbon"}


class WeatherQuery(InputSchema):
    """The query parameters of the current weather."""

    city = Title(1, CITY_LENGTH, required=True, metadata=CITY)


class WeatherView(OutputSchema):
    """The weather in a city."""

    city = fields.String(metadata=CITY)
    temperature_c = fields.Float(metadata={"description": "In degrees Celsius.", "example": 17.5})
    observed_at = DateTime()
    is_stale = fields.Boolean(
        metadata={"description": "Whether this is an earlier observation, because there is none of now."}
    )


class Observation(InputSchema):
    """The answer of the other service. Members that it adds later are ignored."""

    class Meta:
        unknown = EXCLUDE

    city = Title(1, CITY_LENGTH, required=True)
    temperature_c = Number(-273.15, 1000, required=True)
    observed_at = DateTime(required=True)


WEATHER: Schema = WeatherView()
OBSERVATION: Schema = Observation()
