"""Serialization of responses: compiles each Marshmallow schema into one function that replaces `Schema.dump`.

The function returns what `dump` would, several times faster. A schema with a field or hook that the compiler does not
support is serialized by `dump` itself.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date
from functools import lru_cache
from typing import Any

import orjson
from marshmallow import Schema, fields, missing

from app.api.fields import Date, DateTime, Inline, Items, format_timestamp
from app.api.responses import Shaped

Dump = Callable[[Any], dict[str, Any]]
MAX_KNOWN = 64
_DUMP_HOOKS = frozenset({"pre_dump", "post_dump"})
# What a schema may override to change its dumps.
_SCHEMA_METHODS = ("get_attribute", "dump", "_serialize", "dict_class")


class UnsupportedSchema(Exception):
    """The schema has a field or a hook that the compiler does not support."""


@lru_cache(maxsize=256)
def compiled(schema: Schema) -> Dump:
    """Return a function that serializes one object, for `as_json`, with the same result as `schema.dump`."""
    slow: Dump = schema.dump
    try:
        quick = _compile(schema)
    except UnsupportedSchema:
        return slow

    # The classes that were serialized before: the rows of some statements, and some dataclasses.
    known: set[type] = set()

    def dump(value: Any) -> dict[str, Any]:
        # Marshmallow prefers items to attributes, and omits attributes that the object does not have.
        if value.__class__ not in known:
            if isinstance(value, Mapping) or (hasattr(value, "__getitem__") and not isinstance(value, tuple)):
                return slow(value)
            if len(known) < MAX_KNOWN:
                known.add(value.__class__)
        try:
            return quick(value)
        except AttributeError:
            return slow(value)

    return dump


def as_json(value: Any) -> bytes:
    """Return the JSON of what compiled functions return, or of a structure that contains it."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def _compile(schema: Schema) -> Dump:
    writer = _Writer()
    source = f"def dump(o):\n    return {writer.members(schema)}\n"
    exec(compile(source, f"<dump of {type(schema).__name__}>", "exec"), writer.names)  # noqa: S102 - our own text
    dump: Dump = writer.names["dump"]
    return dump


def _overrides(value: object, base: type, names: Iterable[str]) -> bool:
    """Return whether the class of `value`, or `value` itself, overrides one of these attributes of `base`."""
    return any(getattr(type(value), name) is not getattr(base, name) or name in vars(value) for name in names)


def _is_plain_name(name: str) -> bool:
    """Return whether `o.name` is Python source that reads this attribute."""
    # Python normalises names beyond ASCII.
    return name.isascii() and name.isidentifier() and not keyword.iskeyword(name)


class _Writer:
    """Generates the source of a dictionary expression, and collects the names that it uses."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {
            "str": str,
            "int": int,
            "float": float,
            "date": date,
            "UTC": UTC,
            "format_timestamp": format_timestamp,
        }

    def members(self, schema: Schema) -> str:
        """Return the source of a dictionary with the members that `schema` has for the object `o`."""
        # After a dump, `_hooks` has the names of all hooks with empty lists.
        hooks = {str(name) for name, found in schema._hooks.items() if found}
        if schema.many or hooks & _DUMP_HOOKS or _overrides(schema, Schema, _SCHEMA_METHODS):
            raise UnsupportedSchema
        parts = (
            f"{self._constant(name if field.data_key is None else field.data_key)}: {self._value(name, field)}"
            for name, field in schema.dump_fields.items()
        )
        return "{" + ", ".join(parts) + "}"

    def _value(self, name: str, field: fields.Field[Any]) -> str:
        attribute, kind = field.attribute or name, type(field)
        if isinstance(field, Inline) and kind is Inline and not field.many:
            return self.members(field.schema)
        if not _is_plain_name(attribute) or field.dump_default is not missing:
            raise UnsupportedSchema
        if isinstance(field, fields.Nested) and kind is fields.Nested and not field.many:
            return f"(None if (v := o.{attribute}) is None else {self._constant(compiled(field.schema))}(v))"
        if isinstance(field, Items) and kind is Items and isinstance(nested := field.inner, fields.Nested):
            each = self._constant(compiled(nested.schema))
            return f"(None if (v := o.{attribute}) is None else [{each}(i) for i in v])"
        if _overrides(field, fields.Field, ("serialize", "get_value")):
            raise UnsupportedSchema
        if kind._serialize is DateTime._serialize:
            # orjson already produces our format, except that it omits microseconds when they are zero.
            is_direct = f"(v := o.{attribute}) is None or v.tzinfo is UTC and v.microsecond"
            return f"(v if {is_direct} else format_timestamp(v))"
        return self._plain_value(attribute, field)

    def _plain_value(self, attribute: str, field: fields.Field[Any]) -> str:
        kind = type(field)
        serialize = kind._serialize
        if serialize is fields.Field._serialize:
            return f"o.{attribute}"
        if serialize is fields.String._serialize:
            direct_type = "str"
        elif isinstance(field, Date) and kind is Date and field.format in (None, "iso"):
            direct_type = "date"  # orjson writes it in the same format
        elif isinstance(field, fields.Float) and serialize is fields.Float._serialize and not field.as_string:
            direct_type = "float"
        elif isinstance(field, fields.Integer) and serialize is fields.Integer._serialize and not field.as_string:
            direct_type = "int"
        else:
            raise UnsupportedSchema
        convert = f"{self._constant(field._serialize)}(v, {self._constant(attribute)}, o)"
        return f"(v if (v := o.{attribute}).__class__ is {direct_type} else {convert})"

    def _constant(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name


def dump(value: Any, schema: Schema) -> dict[str, Any]:
    """Return `value` serialized by `schema`, or by its own schema if it is `Shaped`, for `as_json`."""
    if isinstance(value, Shaped):
        value, schema = value.value, value.schema
    return compiled(schema)(value)


def dump_bytes(value: Any, schema: Schema) -> bytes:
    """Return the JSON of `value` serialized by `schema`."""
    return as_json(dump(value, schema))
