"""What Marshmallow's `Schema.dump` shows, by one function compiled from the schema: the schema stays the only source.

Owns no rule of its own: a schema with a field that is not understood here is left to `dump` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC
from functools import lru_cache
from typing import Any

import orjson
from marshmallow import Schema, fields, missing

from app.api.fields import Inline, Timestamp, format_timestamp
from app.api.responses import Shaped

Dump = Callable[[Any], dict[str, Any]]
MAX_KNOWN = 64
_DUMP_HOOKS = frozenset({"pre_dump", "post_dump"})


class _NotUnderstood(Exception):
    """The schema has something that only Marshmallow knows how to show."""


@lru_cache(maxsize=256)
def compiled(schema: Schema) -> Dump:
    """Return a function that makes of one object what `as_json` writes as it would write `schema.dump` of it."""
    slow: Dump = schema.dump
    try:
        quick = _compile(schema)
    except _NotUnderstood:
        return slow

    # The classes of what has been shown: rows of some statements, and a dataclass or two.
    known: set[type] = set()

    def dump(value: Any) -> dict[str, Any]:
        # Marshmallow looks for items before attributes, and leaves out what an object lacks.
        if value.__class__ not in known:
            if isinstance(value, Mapping):
                return slow(value)
            if len(known) < MAX_KNOWN:
                known.add(value.__class__)
        try:
            return quick(value)
        except AttributeError:
            return slow(value)

    return dump


def as_json(value: Any) -> bytes:
    """Return the JSON of what a compiled function has made, or of a structure of such."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def _compile(schema: Schema) -> Dump:
    writer = _Writer()
    source = f"def dump(o):\n    return {writer.members(schema)}\n"
    exec(compile(source, f"<dump of {type(schema).__name__}>", "exec"), writer.names)  # noqa: S102 - our own text
    dump: Dump = writer.names["dump"]
    return dump


class _Writer:
    """Writes the source of a dictionary, and collects the names that it uses."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"str": str, "int": int, "UTC": UTC, "text_of": format_timestamp}

    def members(self, schema: Schema) -> str:
        """Return the source of a dictionary with the members that `schema` shows of `o`."""
        # A dump leaves the names of hooks there, with none behind them.
        hooks = {str(name) for name, found in schema._hooks.items() if found}
        if schema.many or hooks & _DUMP_HOOKS:
            raise _NotUnderstood
        parts = (
            f"{self._constant(name if field.data_key is None else field.data_key)}: {self._value(name, field)}"
            for name, field in schema.dump_fields.items()
        )
        return "{" + ", ".join(parts) + "}"

    def _value(self, name: str, field: fields.Field[Any]) -> str:
        attribute, kind = field.attribute or name, type(field)
        if isinstance(field, Inline) and kind is Inline and not field.many:
            return self.members(field.schema)
        if not attribute.isidentifier() or field.dump_default is not missing:
            raise _NotUnderstood
        if isinstance(field, fields.Nested) and kind is fields.Nested and not field.many:
            return f"(None if (v := o.{attribute}) is None else {self._constant(compiled(field.schema))}(v))"
        if kind is Timestamp:
            # orjson writes what it is given as the contract has it, and fast, but for a fraction of nought.
            as_it_is = f"(v := o.{attribute}) is None or v.tzinfo is UTC and v.microsecond"
            return f"(v if {as_it_is} else text_of(v))"
        if kind.serialize is not fields.Field.serialize:
            raise _NotUnderstood
        return self._plain_value(attribute, field)

    def _plain_value(self, attribute: str, field: fields.Field[Any]) -> str:
        serialize = type(field)._serialize
        if serialize is fields.Field._serialize:
            return f"o.{attribute}"
        if serialize is fields.String._serialize:
            shown_as_it_is = "str"
        elif isinstance(field, fields.Integer) and serialize is fields.Integer._serialize and not field.as_string:
            shown_as_it_is = "int"
        else:
            raise _NotUnderstood
        convert = f"{self._constant(field._serialize)}(v, {self._constant(attribute)}, o)"
        return f"(v if (v := o.{attribute}).__class__ is {shown_as_it_is} else {convert})"

    def _constant(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name


def dump(value: Any, schema: Schema) -> dict[str, Any]:
    """Return what `schema` shows of `value`, by the schema that came with the value if one did, for `as_json`."""
    if isinstance(value, Shaped):
        value, schema = value.value, value.schema
    return compiled(schema)(value)


def dump_bytes(value: Any, schema: Schema) -> bytes:
    """Return the JSON of what `schema` shows of `value`."""
    return as_json(dump(value, schema))
