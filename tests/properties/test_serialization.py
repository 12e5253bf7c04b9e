"""Compiled schemas return the same as Marshmallow's `dump`, for the schema of every response."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, fields, post_dump

from app.api.fields import Date, DateTime, Identifier, Inline, Integer, Items, Number, OutputSchema
from app.api.serialization import as_json, compiled
from app.audit.schemas import AUDIT_EVENT, OWN_EVENT
from app.auth.schemas import SessionView
from app.posts.schemas import POST, PostView
from app.users.schemas import PRIVATE_USER, PUBLIC_USER, PrivateUser, PublicUser
from tests.properties.examples import examples

SESSION = SessionView()


class Waypoint(OutputSchema):
    """An item of a list."""

    name = fields.String()
    latitude = Number(-90, 90)


class Trip(OutputSchema):
    """A schema with the fields that the built-in responses do not have."""

    id = Identifier()
    class_ = fields.String(data_key="class")
    price = fields.Float(allow_none=True)
    seats = Integer(0, 9, allow_none=True)
    day = Date(allow_none=True)
    ends_at = DateTime(allow_none=True)
    waypoints = Items(Waypoint, 0, 9, allow_none=True)


TRIP = Trip()
ZONES = st.sampled_from([UTC, timezone(timedelta(0)), timezone(timedelta(hours=5, minutes=30))])
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES)  # noqa: DTZ001 - the zone is added
# Values that drivers return for columns, and others: the result must not depend on the types of the values.
NUMBERS = st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()


def names_in(schema: Schema) -> dict[str, fields.Field[Any]]:
    """Return the attributes that a schema reads, with their fields."""
    found: dict[str, fields.Field[Any]] = {}
    for name, field in schema.dump_fields.items():
        if isinstance(field, Inline):
            found |= names_in(field.schema)
        else:
            found[field.attribute or name] = field
    return found


def value_of(field: fields.Field[Any]) -> st.SearchStrategy[Any]:
    """Return a strategy of the values that a field of this kind can get."""
    if isinstance(field, Items):
        item = st.builds(SimpleNamespace, name=VALUES, latitude=NUMBERS)
        return st.none() | st.lists(item | st.fixed_dictionaries({"name": st.text(), "latitude": NUMBERS}), max_size=3)
    if isinstance(field, Date):
        return st.none() | st.dates()
    if isinstance(field, fields.Float):
        return NUMBERS
    if isinstance(field, DateTime):
        return st.none() | TIMES | TIMES.map(lambda time: time.replace(microsecond=0))
    if isinstance(field, fields.Integer):
        return st.none() | st.integers(-(2**63), 2**63 - 1)
    return VALUES


@pytest.mark.parametrize("schema", [POST, PUBLIC_USER, PRIVATE_USER, SESSION, AUDIT_EVENT, OWN_EVENT, TRIP], ids=repr)
@examples(60)
@given(data=st.data())
def test_a_compiled_schema_returns_the_same_as_dump(schema: Schema, data: st.DataObject) -> None:
    row = SimpleNamespace(**{name: data.draw(value_of(field), name) for name, field in names_in(schema).items()})
    assert as_json(compiled(schema)(row)) == orjson.dumps(schema.dump(row))


def test_the_schemas_of_responses_are_compiled() -> None:
    """Otherwise the test above would compare `dump` with itself."""
    for kind in (PostView, PublicUser, PrivateUser, SessionView, Trip):
        schema = kind()
        # Marshmallow changes the state of a schema when it dumps.
        schema.dump({})
        assert compiled(schema) != schema.dump


class Odd(OutputSchema):
    """A schema that the compiler does not support."""

    id = Identifier()
    shout = fields.String(attribute="name")

    @post_dump
    def _loudly(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return data | {"shout": data["shout"].upper()}


def test_an_unsupported_schema_is_left_to_marshmallow() -> None:
    assert compiled(Odd())(SimpleNamespace(id=1, name="a")) == {"id": 1, "shout": "A"}


class Doubling(fields.Integer):
    """A field that overrides how a value is found."""

    def get_value(self, obj: Any, attr: str, accessor: Any = None, default: Any = None) -> Any:
        return 2 * obj.number


class Shouting(OutputSchema):
    """A schema that overrides how values are found."""

    name = fields.String()

    def get_attribute(self, obj: Any, attr: str, default: Any) -> Any:
        return str(getattr(obj, attr, default)).upper()


class Renamed(OutputSchema):
    """A schema whose names are no names of Python."""

    class_ = fields.String(data_key="class", attribute="class")
    ligature = fields.String(attribute="\ufb01")
    deep = fields.Integer(attribute="inner.number")
    plain = fields.Integer(data_key="the number", attribute="number")


class Whole(OutputSchema):
    """A schema whose parts have overridden hooks."""

    part = fields.Nested(Shouting)
    inline = Inline(Shouting)
    number = Doubling()


def with_from() -> Schema:
    """Return a schema with a field that is called `from`."""
    return OutputSchema.from_dict({"from": fields.String(), "None": fields.Integer(), "match": fields.Integer()})()


@pytest.mark.parametrize(
    "schema", [Shouting(), Renamed(), Whole(), with_from(), Odd()], ids=lambda one: type(one).__name__
)
def test_overridden_hooks_and_names_are_respected(schema: Schema) -> None:
    values = {"from": "a", "None": 1, "match": 2, "class": "b", "\ufb01": "ligature", "fi": "two letters"}
    value = SimpleNamespace(**values, id=1, name="c", number=21, inner=SimpleNamespace(number=3))
    value.part = value
    expected = schema.dump(value)
    assert len(expected) == len(schema.dump_fields)
    assert compiled(schema)(value) == expected


def test_an_overridden_dump_is_called() -> None:
    class Constant(OutputSchema):
        id = Identifier()

        def dump(self, obj: Any, *, many: bool | None = None) -> Any:
            return {"id": 0}

    schema = Constant()
    schema.get_attribute = lambda obj, attr, default: 1  # type: ignore[method-assign]
    assert compiled(schema)(SimpleNamespace(id=1)) == {"id": 0}
    changed = PublicUser(only=["id"])
    changed.get_attribute = lambda obj, attr, default: 7  # type: ignore[method-assign]
    assert compiled(changed)(SimpleNamespace(id=1)) == {"id": 7}


def test_items_of_other_containers_are_preferred_too() -> None:
    class Record:
        id = 1

        def __getitem__(self, name: str) -> int:
            return 2

    assert compiled(PublicUser(only=["id"]))(Record()) == {"id": 2}


def test_missing_attributes_are_omitted_and_items_are_preferred() -> None:
    assert compiled(PUBLIC_USER)(SimpleNamespace(id=1)) == {"id": 1}
    assert compiled(PUBLIC_USER)({"id": 2, "name": "Ada"}) == {"id": 2, "name": "Ada"}
