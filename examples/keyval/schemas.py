"""What clients send, and what they get."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, validates_schema

from app.api.fields import InputSchema, Integer, OutputSchema, Text, Timestamp, Title, text_pattern
from app.api.pagination import ListQuery, sort_field
from examples.keyval.models import KEY_LENGTH, ORDERS

TEXT_LENGTH = 10_000
# Every integer up to here is exact in JavaScript, whose numbers have 53 bits.
MAX_NUMBER = 2**53
EMPTY = "EMPTY"
# A key is the end of a path, in which slashes need not be escaped. Clients and proxies resolve the segments "." and
# ".." (RFC 3986 section 5.2.4) and may merge slashes; U+FFFD is what the server reads in place of bytes that are not
# UTF-8. A key with any of these could not be addressed.
_NOT_IN_PATHS = r"(?!(?:[\s\S]*/)?\.{0,2}(?:/|$)|[\s\S]*\ufffd)"


class Key(Title):
    """The key of an item: a line of 1 to 200 characters that can be the end of a path."""

    default_error_messages = {"path": "Must not have U+FFFD, or an empty segment, '.' or '..' between slashes."}

    def __init__(self, **kwargs: Any) -> None:
        pattern = f"^{_NOT_IN_PATHS}{text_pattern(bidi=False).removeprefix('^')}"
        metadata = {"pattern": pattern, "example": "colour"} | kwargs.pop("metadata", {})
        super().__init__(1, KEY_LENGTH, metadata=metadata, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> str:
        key = super()._deserialize(value, attr, data, **kwargs)
        if key and not re.match(_NOT_IN_PATHS, key):
            raise self.make_error("path")
        return key


class Value(fields.Raw):
    """The value of an item: a string or an integer; nothing is converted."""

    default_error_messages = {"invalid": "Must be a string or an integer."}

    def __init__(self, **kwargs: Any) -> None:
        self._text = Text(0, TEXT_LENGTH, multiline=True, blank=True)
        self._number = Integer(-MAX_NUMBER, MAX_NUMBER)
        text = {"type": "string", "maxLength": TEXT_LENGTH, **self._text.metadata}
        number = {"type": "integer", "minimum": -MAX_NUMBER, "maximum": MAX_NUMBER}
        super().__init__(metadata={"oneOf": [text, number], "example": 100}, **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> Any:
        if isinstance(value, str):
            return self._text.deserialize(value)
        # In Python a bool is an int too.
        if isinstance(value, int) and not isinstance(value, bool):
            return self._number.deserialize(value)
        raise self.make_error("invalid")


class NewItem(InputSchema):
    """An item to create."""

    key = Key(required=True)
    val = Value(load_default=EMPTY)


class NewValue(InputSchema):
    """The value of the item with the key in the path."""

    val = Value(load_default=EMPTY)


class PathKey(InputSchema):
    """The key in a path."""

    key = Key(required=True)


class ItemQuery(ListQuery):
    """The query parameters of the list of items."""

    sort = sort_field(*ORDERS, default="key")


class NewTransfer(InputSchema):
    """A transfer between two items whose values are integers."""

    # `from` is a keyword of Python. `data_key` is the name in JSON.
    from_ = Key(required=True, data_key="from", metadata={"example": "savings"})
    to = Key(required=True, metadata={"example": "spending"})
    amount = Integer(1, MAX_NUMBER, required=True, metadata={"example": 10})

    @validates_schema
    def _require_two_items(self, data: Mapping[str, Any], **kwargs: Any) -> None:
        if data["from_"] == data["to"]:
            raise ValidationError("Must be another item than `from`.", "to")


class ItemView(OutputSchema):
    """An item of the caller."""

    key = fields.String(metadata={"example": "colour"})
    val = Value()
    created_at = Timestamp()
    updated_at = Timestamp()


class TransferView(OutputSchema):
    """Both items after a transfer."""

    from_ = fields.Nested(ItemView, data_key="from")
    to = fields.Nested(ItemView)


ITEM: Schema = ItemView()
TRANSFER: Schema = TransferView()
# The JSON Schema of a key in a path.
PATH_KEY = {
    "type": "string",
    "minLength": 1,
    "maxLength": KEY_LENGTH,
    "pattern": Key().metadata["pattern"],
    "examples": ["savings"],
}
