"""The base classes of all schemas, objects and lists within them, and the schema of a change.

Schemas must not query the database: services check the rules that need data.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from marshmallow import RAISE, Schema, fields, missing, validate

# In the metadata of a field of an OutputSchema: the field may be absent. It is not copied to the OpenAPI document.
OPTIONAL = "optional"


class InputSchema(Schema):
    """The base class of the schemas of bodies and query strings. Unknown names are errors."""

    class Meta:
        unknown = RAISE

    error_messages = {"type": "Must be a JSON object.", "unknown": "Unknown field."}


class OutputSchema(Schema):
    """The base class of the schemas of responses, which serialize rows and dataclasses."""


class Inline(fields.Nested):
    """A nested object of a response that is made from columns of the same row."""

    def serialize(self, attr: str, obj: Any, accessor: Any = None, **kwargs: Any) -> Any:
        return self.schema.dump(obj)


class Items(fields.List[Any]):
    """A list of `minimum` to `maximum` objects of a schema, in a body or a response; errors have the index of the item.

    An object in a body may have no unknown members if the schema is an InputSchema.
    """

    default_error_messages = {
        "invalid": "Must be a list.",
        "empty": "Must not be empty.",
        "too_short": "Must have at least {number} items.",
        "too_long": "Must have at most {number} items.",
    }

    def __init__(self, schema: type[Schema], minimum: int, maximum: int, **kwargs: Any) -> None:
        self._minimum, self._maximum = minimum, maximum
        # The validator only describes the bounds: `_deserialize` checks them, before it reads the items.
        super().__init__(fields.Nested(schema), validate=validate.Length(minimum, maximum), **kwargs)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):
            raise self.make_error("invalid")
        if len(value) < self._minimum:
            raise self.make_error("empty" if self._minimum == 1 else "too_short", number=self._minimum)
        if len(value) > self._maximum:
            raise self.make_error("too_long", number=self._maximum)
        return super()._deserialize(value, attr, data, **kwargs)


def changes_of(schema: type[InputSchema]) -> type[Schema]:
    """Return the schema of PATCH for that of POST and PUT: its members, of which none is required or has a default.

    The name of `changes_of(NewTrip)` in the OpenAPI document is TripChanges. A `validates_schema` of the given schema
    applies to changes too, and must allow for absent members.
    """
    subject = schema.__name__.removeprefix("New")
    members = {name: copy.copy(field) for name, field in schema._declared_fields.items()}
    for field in members.values():
        field.required, field.load_default = False, missing
    changes = schema.from_dict(members, name=f"{subject}Changes")
    changes.__module__ = schema.__module__
    changes.__doc__ = "The members to change, for PATCH."
    return changes
