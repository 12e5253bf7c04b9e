"""What a compiled dump writes is what Marshmallow's `dump` says, for every schema of an answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, fields, post_dump

from app.api.fields import Identifier, Inline, OutputSchema, Timestamp
from app.api.serialization import as_json, compiled
from app.audit.schemas import AUDIT_EVENT, OWN_EVENT
from app.auth.schemas import SessionView
from app.posts.schemas import POST, PostView
from app.users.schemas import PRIVATE_USER, PUBLIC_USER, PrivateUser, PublicUser
from tests.properties.examples import examples

SESSION = SessionView()
ZONES = st.sampled_from([UTC, timezone(timedelta(0)), timezone(timedelta(hours=5, minutes=30))])
TIMES = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=ZONES)  # noqa: DTZ001 - the zone is added
# What a driver may give for a column, and what it won't: the words of the schema decide, not its types.
VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text()


def names_in(schema: Schema) -> dict[str, fields.Field[Any]]:
    """The attributes that a schema reads, with their fields."""
    found: dict[str, fields.Field[Any]] = {}
    for name, field in schema.dump_fields.items():
        if isinstance(field, Inline):
            found |= names_in(field.schema)
        else:
            found[field.attribute or name] = field
    return found


def value_of(field: fields.Field[Any]) -> st.SearchStrategy[Any]:
    """Any value that such a field may be given."""
    if isinstance(field, Timestamp):
        return st.none() | TIMES | TIMES.map(lambda time: time.replace(microsecond=0))
    if isinstance(field, fields.Integer):
        return st.none() | st.integers(-(2**63), 2**63 - 1)
    return VALUES


@pytest.mark.parametrize("schema", [POST, PUBLIC_USER, PRIVATE_USER, SESSION, AUDIT_EVENT, OWN_EVENT], ids=repr)
@examples(60)
@given(data=st.data())
def test_it_writes_what_the_schema_says(schema: Schema, data: st.DataObject) -> None:
    row = SimpleNamespace(**{name: data.draw(value_of(field), name) for name, field in names_in(schema).items()})
    assert as_json(compiled(schema)(row)) == orjson.dumps(schema.dump(row))


def test_the_schemas_of_answers_are_compiled() -> None:
    """Or the property would hold of `dump` itself."""
    for kind in (PostView, PublicUser, PrivateUser, SessionView):
        schema = kind()
        # Marshmallow notes things in a schema that has dumped.
        schema.dump({})
        assert compiled(schema) != schema.dump


class Odd(OutputSchema):
    """A schema that does what only Marshmallow can."""

    id = Identifier()
    shout = fields.String(attribute="name")

    @post_dump
    def _loudly(self, data: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return data | {"shout": data["shout"].upper()}


def test_what_is_not_understood_is_left_to_the_schema() -> None:
    assert compiled(Odd())(SimpleNamespace(id=1, name="a")) == {"id": 1, "shout": "A"}


def test_missing_attributes_are_left_out_and_items_come_first() -> None:
    assert compiled(PUBLIC_USER)(SimpleNamespace(id=1)) == {"id": 1}
    assert compiled(PUBLIC_USER)({"id": 2, "name": "Ada"}) == {"id": 2, "name": "Ada"}
