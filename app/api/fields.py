"""Marshmallow fields that take a value of exactly one kind, and the schemas' base classes.

Owns how strings, numbers and times are validated everywhere. Must not query: rules that need data are services'.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from app.database import MAX_ID

# Control characters (Unicode category Cc) and lone surrogates: no text has a use for them, PostgreSQL can't store
# NUL, and no encoder can send a lone surrogate.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROLS_IN_LONG_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# What `str.strip` takes for white space beyond tab, newline and carriage return, in the spelling of JSON Schema:
# its \s would differ from one dialect of regular expressions to the next.
_SPACES = r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_INTEGER = re.compile(r"-?[0-9]{1,19}")
# RFC 3339 section 5.6. `fromisoformat` takes more than this, and on Python 3.11 a trailing NUL.
_TIMESTAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class InputSchema(Schema):
    """A body or a query string: unknown names are errors, never ignored."""

    class Meta:
        unknown = RAISE
        ordered = False

    error_messages = {"type": "Must be a JSON object.", "unknown": "Unknown field."}


# In the metadata of a field of an answer: that it is not always there. The document leaves this name out.
OPTIONAL = "optional"


class OutputSchema(Schema):
    """What an answer holds. Reads attributes of rows and records; never loads."""


class Text(fields.String):
    """A string of `minimum` to `maximum` code points, with no control characters and not only white space.

    `multiline` lets tab, newline and carriage return stand in it; `blank` lets it be empty or white space.
    """

    default_error_messages = {
        "invalid": "Must be a string.",
        "controls": "Must not have control characters.",
        "blank": "Must not be blank.",
    }

    def __init__(
        self,
        minimum: int,
        maximum: int,
        *,
        multiline: bool = False,
        blank: bool = False,
        **kwargs: Any,
    ) -> None:
        self._controls = _CONTROLS_IN_LONG_TEXT if multiline else _CONTROLS
        self._blank = blank
        metadata = {"pattern": text_pattern(multiline=multiline, blank=blank)} | kwargs.pop("metadata", {})
        super().__init__(validate=TextLength(minimum, maximum), metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        if self._controls.search(value):
            raise self.make_error("controls")
        if not self._blank and value and not value.strip():
            raise self.make_error("blank")
        return value


def text_pattern(*, multiline: bool, blank: bool) -> str:
    """Return the rule of a Text as a pattern of JSON Schema; lone surrogates, which no JSON in UTF-8 holds, apart."""
    controls = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f" if multiline else r"\u0000-\u001f\u007f-\u009f"
    if blank:
        return f"^[^{controls}]*$"
    spaces = _SPACES + (r"\t\n\r" if multiline else "")
    # No two parts can share a character, so that matching is linear in any engine.
    return f"^[{spaces}]*[^{spaces}{controls}][^{controls}]*$"


class TextLength(validate.Length):
    """Counts code points, and names the side that was passed."""

    def _format_error(self, value: Any, message: str) -> str:
        if len(value) < (self.min or 0):
            return "Must not be empty." if self.min == 1 else f"Must have at least {self.min} characters."
        return f"Must have at most {self.max} characters."


class Flag(fields.Boolean):
    """A JSON true or false, and nothing that stands in for one."""

    default_error_messages = {"invalid": "Must be true or false."}
    truthy = {True}
    falsy = {False}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid")
        return value


class Seconds(fields.Integer):
    """A JSON integer number of seconds from `minimum` to `maximum`; no string, float or boolean stands in for it."""

    default_error_messages = {"invalid": "Must be an integer."}

    def __init__(self, minimum: int, maximum: int, **kwargs: Any) -> None:
        super().__init__(validate=validate.Range(minimum, maximum, error="Must be {min} to {max}."), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if type(value) is not int:
            raise self.make_error("invalid")
        return value


class QueryFlag(fields.Boolean):
    """The words true or false in a query string."""

    default_error_messages = {"invalid": "Must be true or false."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> bool:
        if value not in ("true", "false"):
            raise self.make_error("invalid")
        return bool(value == "true")


class QueryInteger(fields.Integer):
    """A decimal integer from `minimum` to `maximum` in a query string, in ASCII digits."""

    default_error_messages = {"invalid": "Must be an integer."}

    def __init__(self, minimum: int = 1, maximum: int = MAX_ID, **kwargs: Any) -> None:
        super().__init__(validate=validate.Range(minimum, maximum, error="Must be {min} to {max}."), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:
        if not _INTEGER.fullmatch(value):
            raise self.make_error("invalid")
        return int(value)


class QueryTimestamp(fields.DateTime):
    """An RFC 3339 date-time in a query string; returns it in UTC."""

    default_error_messages = {"invalid": "Must be an RFC 3339 date-time such as 2026-01-31T12:00:00Z."}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> datetime:
        if not _TIMESTAMP.fullmatch(value):
            raise self.make_error("invalid")
        try:
            return datetime.fromisoformat(value.upper()).astimezone(UTC)
        except (ValueError, OverflowError) as error:
            raise self.make_error("invalid") from error


class Identifier(fields.Integer):
    """The id of a row, in an answer."""

    def __init__(self, **kwargs: Any) -> None:
        limits = {"format": "int64", "minimum": 1, "maximum": MAX_ID, "examples": [1]}
        super().__init__(metadata=limits | kwargs.pop("metadata", {}), **kwargs)


class Timestamp(fields.DateTime):
    """A time in an answer: RFC 3339, UTC, microseconds."""

    def __init__(self, **kwargs: Any) -> None:
        example = {"examples": ["2026-01-31T12:00:00.000000Z"]}
        super().__init__(metadata=example | kwargs.pop("metadata", {}), **kwargs)

    def _serialize(self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return None if value is None else format_timestamp(value)


def format_timestamp(value: datetime) -> str:
    """Return an aware datetime as RFC 3339 in UTC, always with six decimals."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat("T", "microseconds")[:-6] + "Z"


class Inline(fields.Nested):
    """An object in the answer that is made from columns of the same row."""

    def serialize(self, attr: str, obj: Any, accessor: Any = None, **kwargs: Any) -> Any:
        return self.schema.dump(obj)


class Choice(fields.String):
    """One of some words."""

    def __init__(self, *choices: str, **kwargs: Any) -> None:
        self.choices = choices
        super().__init__(validate=validate.OneOf(choices, error="Must be one of: {choices}."), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Must be a string.")
        return value
