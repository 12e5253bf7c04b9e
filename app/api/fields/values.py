"""Fields of numbers, truth values, dates and times: each accepts values of exactly one JSON type."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from marshmallow import fields, validate

from app.database import MAX_ID

_INTEGER = re.compile(r"-?[0-9]{1,19}")
# RFC 3339 section 5.6. `fromisoformat` accepts more than this, and on Python 3.11 a trailing NUL.
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
_DATE_TIME = re.compile(f"{_DATE.pattern}[Tt]{_TIME}")


class Flag(fields.Boolean):
    """A JSON true or false; other values are not converted."""

    default_error_messages = {"invalid": "Must be true or false."}
    truthy = {True}
    falsy = {False}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Integer(fields.Integer):
    """A JSON integer from `minimum` to `maximum`; strings, floats and booleans are not converted."""

    default_error_messages = {"invalid": "Must be an integer."}

    def __init__(self, minimum: int, maximum: int, **kwargs: Any) -> None:
        limits = validate.Range(minimum, maximum, error="Must be {min} to {max}.")
        super().__init__(strict=True, validate=limits, **kwargs)


class Number(fields.Float):
    """A JSON number from `minimum` to `maximum`, with or without a fraction; strings and booleans are not converted.

    It is loaded as a finite float, the nearest one to the number in the body. Store it in a column of the type Double.
    """

    default_error_messages = {"invalid": "Must be a number.", "range": "Must be {minimum} to {maximum}."}

    def __init__(self, minimum: float, maximum: float, **kwargs: Any) -> None:
        if not math.isfinite(minimum) or not math.isfinite(maximum):
            raise ValueError("The bounds of a number must be finite.")
        self._minimum, self._maximum = minimum, maximum
        # A range that is only described: `_deserialize` checks it, before an integer of any size becomes a float.
        limits = {"minimum": minimum, "maximum": maximum}
        super().__init__(metadata=limits | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.make_error("invalid")
        if not self._minimum <= value <= self._maximum:  # NaN is in no range
            raise self.make_error("range", minimum=self._minimum, maximum=self._maximum)
        # Without a negative zero, which SQLite stores as zero and PostgreSQL does not.
        return float(value) + 0.0


class QueryFlag(fields.Boolean):
    """`true` or `false` in a query string."""

    default_error_messages = {"invalid": "Must be true or false."}
    truthy = {"true"}
    falsy = {"false"}


class QueryInteger(Integer):
    """A decimal integer from `minimum` to `maximum` in a query string, in ASCII digits."""

    def __init__(self, minimum: int = 1, maximum: int = MAX_ID, **kwargs: Any) -> None:
        super().__init__(minimum, maximum, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if not _INTEGER.fullmatch(value):
            raise self.make_error("invalid")
        return int(value)


class Identifier(fields.Integer):
    """The id of a row in a response."""

    def __init__(self, **kwargs: Any) -> None:
        limits = {"format": "int64", "minimum": 1, "maximum": MAX_ID, "examples": [1]}
        super().__init__(metadata=limits | kwargs.pop("metadata", {}), **kwargs)


class Date(fields.Date):
    """A date without a time of day, in bodies, queries and responses: an RFC 3339 full-date such as 2026-01-31."""

    default_error_messages = {"invalid": "Must be an RFC 3339 date such as 2026-01-31."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"examples": ["2026-01-31"]} | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> date:
        if not isinstance(value, str) or not _DATE.fullmatch(value):
            raise self.make_error("invalid")
        try:
            return date.fromisoformat(value)
        except ValueError as error:
            raise self.make_error("invalid") from error


class DateTime(fields.DateTime):
    """A time in bodies, queries and responses: an RFC 3339 date-time with any offset. It is loaded and shown in UTC."""

    default_error_messages = {"invalid": "Must be an RFC 3339 date-time such as 2026-01-31T12:00:00Z."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(metadata={"examples": ["2026-01-31T12:00:00Z"]} | kwargs.pop("metadata", {}), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not _DATE_TIME.fullmatch(value):
            raise self.make_error("invalid")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise self.make_error("invalid") from error

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else format_timestamp(value)


class Timestamp(DateTime):
    """A time in a response that the service has set, such as `created_at`: in UTC with microseconds."""

    def __init__(self, **kwargs: Any) -> None:
        example = {"examples": ["2026-01-31T12:00:00.000000Z"]}
        super().__init__(metadata=example | kwargs.pop("metadata", {}), **kwargs)


def format_timestamp(value: datetime) -> str:
    """Return an aware datetime as RFC 3339 in UTC, always with six decimal places."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat("T", "microseconds")[:-6] + "Z"
