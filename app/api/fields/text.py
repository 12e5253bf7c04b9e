"""Fields of text: length, control characters, visible characters, patterns, and choices."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError, fields, validate

# Control characters (Unicode category Cc) and lone surrogates. PostgreSQL cannot store NUL, and UTF-8 cannot encode a
# lone surrogate.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTROLS_IN_LONG_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
# The white space of `str.strip`, except tab, newline and carriage return, for a pattern of JSON Schema. \s would have
# different meanings in different dialects of regular expressions.
_SPACES = r" \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# Embeddings, overrides and isolates of UAX #9. They can change the order of the text around a name that has them.
_BIDI = r"\u202a-\u202e\u2066-\u2069"
# With those, the characters without a glyph: Default_Ignorable_Code_Point of Unicode 16 (DerivedCoreProperties.txt),
# which includes the Hangul fillers, and U+2800, the Braille pattern without dots.
_IGNORABLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u2065\u206a-\u206f\u2800\u3164"
    r"\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8"
)
# Those beyond U+FFFF. No escape of them has the same meaning in Python and in JavaScript, so no pattern has them.
_IGNORABLE_ASTRAL = r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
_VISIBLE = re.compile(rf"[^\s{_SPACES}{_BIDI}{_IGNORABLE}{_IGNORABLE_ASTRAL}]")
_BIDI_CONTROLS = re.compile(f"[{_BIDI}]")


def has_control_characters(text: str) -> bool:
    """Return whether a text has characters that no single line may have: control characters and lone surrogates."""
    return _CONTROLS.search(text) is not None


class Text(fields.String):
    """A string of `minimum` to `maximum` code points, without control characters and with a visible character.

    `multiline` allows tab, newline and carriage return; `blank` allows a string without a visible character. `pattern`
    is a regular expression that the whole string must match, in the syntax that Python and JavaScript share; it becomes
    the `pattern` of the JSON Schema. The error message "pattern" says what it means.
    """

    default_error_messages = {
        "invalid": "Must be a string.",
        "controls": "Must not have control characters.",
        "blank": "Must not be blank.",
        "pattern": "Must match the pattern {pattern}.",
    }

    def __init__(
        self,
        minimum: int,
        maximum: int,
        *,
        multiline: bool = False,
        blank: bool = False,
        pattern: str = "",
        **kwargs: Any,
    ) -> None:
        self._controls = _CONTROLS_IN_LONG_TEXT if multiline else _CONTROLS
        self._blank = blank
        self._length = TextLength(minimum, maximum)
        # ASCII: \d and \w have the same meaning as in JavaScript.
        self._pattern = re.compile(pattern, re.ASCII) if pattern else None
        described = f"^(?:{pattern})$" if pattern else text_pattern(minimum, multiline=multiline, blank=blank)
        metadata = {"pattern": described} | kwargs.pop("metadata", {})
        super().__init__(validate=self._length, metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise self.make_error("invalid")
        # Before all other work: Marshmallow calls validators afterwards, and a body may have a megabyte in one field.
        self._length.require_at_most_maximum(value)
        if self._controls.search(value):
            raise self.make_error("controls")
        if not self._blank and value and not _VISIBLE.search(value):
            raise self.make_error("blank")
        # The error of a text that is too short says only that.
        is_long_enough = len(value) >= (self._length.min or 0)
        if self._pattern is not None and is_long_enough and not self._pattern.fullmatch(value):
            raise self.make_error("pattern", pattern=self._pattern.pattern)
        return value


class Title(Text):
    """A Text of one line that is shown beside other text, such as a name: without bidirectional controls."""

    default_error_messages = {"bidi": "Must not have characters that override the direction of text."}

    def __init__(self, minimum: int, maximum: int, **kwargs: Any) -> None:
        metadata = {"pattern": text_pattern(minimum, bidi=False)} | kwargs.pop("metadata", {})
        super().__init__(minimum, maximum, metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if _BIDI_CONTROLS.search(text):
            raise self.make_error("bidi")
        return text


def text_pattern(minimum: int = 1, *, multiline: bool = False, blank: bool = False, bidi: bool = True) -> str:
    """Return the rules of a Text or, without `bidi`, of a Title as a pattern of JSON Schema.

    It lacks the rules on lone surrogates, which UTF-8 excludes, and on invisible characters beyond U+FFFF.
    """
    controls = r"\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f" if multiline else r"\u0000-\u001f\u007f-\u009f"
    controls += "" if bidi else _BIDI
    if blank:
        return f"^[^{controls}]*$"
    invisible = _SPACES + _IGNORABLE + (_BIDI if bidi else "") + (r"\t\n\r" if multiline else "")
    # No character matches two adjacent parts, so that every regular expression engine needs linear time.
    visible = f"[{invisible}]*[^{invisible}{controls}][^{controls}]*"
    return f"^{visible}$" if minimum else f"^({visible})?$"


class TextLength(validate.Length):
    """Validates the number of code points; its message names the bound that was violated."""

    def require_at_most_maximum(self, value: str) -> None:
        """Raise ValidationError for a value that is too long."""
        if self.max is not None and len(value) > self.max:
            raise ValidationError(self._format_error(value, ""))

    def _format_error(self, value: Any, message: str) -> str:
        if len(value) < (self.min or 0):
            return "Must not be empty." if self.min == 1 else f"Must have at least {self.min} characters."
        return f"Must have at most {self.max} characters."


class Choice(fields.String):
    """One of the strings `choices`."""

    def __init__(self, *choices: str, **kwargs: Any) -> None:
        self.choices = choices
        super().__init__(validate=validate.OneOf(choices, error="Must be one of: {choices}."), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        if not isinstance(value, str):
            raise ValidationError("Must be a string.")
        return value
