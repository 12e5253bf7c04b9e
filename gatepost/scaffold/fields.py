"""The fields of a new feature: what the models, the schemas, the migration and the examples have of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from gatepost.scaffold.names import camel_case

MAX_CHOICE = 20
_PYTHON = {
    "text": "str",
    "integer": "int",
    "number": "float",
    "boolean": "bool",
    "date": "dt.date",
    "datetime": "dt.datetime",
    "choice": "str",
}
_DEFAULTS: dict[str, Any] = {"text": "", "integer": 0, "number": 0.0, "boolean": False, "date": None, "datetime": None}
_EXAMPLES: dict[str, Any] = {
    "integer": 3,
    "number": 1.5,
    "boolean": True,
    "date": "2026-01-31",
    "datetime": "2026-01-31T12:00:00.000000Z",
}
_OTHERS: dict[str, Any] = {
    "integer": 4,
    "number": -2.25,
    "boolean": False,
    "date": "2026-02-28",
    "datetime": "2026-02-28T12:00:00.000000Z",
}


@dataclass(frozen=True, kw_only=True)
class Field:
    """A field of a row, which is a column and a member of bodies and responses."""

    name: str
    type: str
    is_optional: bool
    choices: tuple[str, ...] = ()
    # The constant with the choices, and whether the list can be sorted by the column.
    constant: str = ""
    is_sortable: bool = False

    @property
    def words(self) -> str:
        """The name as words."""
        return self.name.replace("_", " ")

    @property
    def default(self) -> Any:
        """The value of an optional field that a body does not have."""
        return self.choices[0] if self.choices else _DEFAULTS[self.type]

    @property
    def is_nullable(self) -> bool:
        """Whether the column can be null: no date is a default that means the same every day."""
        return self.is_optional and self.default is None

    @property
    def python(self) -> str:
        """The type of the column's values in Python."""
        return _PYTHON[self.type] + " | None" * self.is_nullable

    @property
    def column(self) -> str:
        """The type of the column, for the model."""
        text = "ordered_string(TEXT_LENGTH)" if self.is_sortable else "String(TEXT_LENGTH)"
        types = {"text": text, "number": "Double", "datetime": "UtcDateTime", "choice": "String(CHOICE_LENGTH)"}
        return types.get(self.type, self.type.capitalize())

    @property
    def migrated_column(self) -> str:
        """The type of the column, for the migration, which does not depend on later versions of the model."""
        text = "sa.String(200)"
        if self.is_sortable:
            text += '.with_variant(sa.String(200, collation="C"), "postgresql")'
        types = {
            "text": text,
            "number": "sa.Double()",
            "datetime": "sa.DateTime(timezone=True)",
            "choice": f"sa.String({MAX_CHOICE})",
        }
        return types.get(self.type, f"sa.{self.type.capitalize()}()")

    @property
    def schema_type(self) -> str:
        """The class of the field in the schemas."""
        types = {"text": "Title", "boolean": "Flag", "datetime": "DateTime"}
        return types.get(self.type, self.type.capitalize())

    @property
    def bounds(self) -> str:
        """The first arguments of the field in the schema of bodies."""
        bounds = {
            "text": f"{0 if self.is_optional else 1}, TEXT_LENGTH",
            "integer": "MIN_INTEGER, MAX_INTEGER",
            "number": "-MAX_NUMBER, MAX_NUMBER",
            "choice": f"*{self.constant}",
        }
        return bounds.get(self.type, "")

    @property
    def condition(self) -> str:
        """The SQL of the check constraint of a choice."""
        column = f'"{self.name}"' if self.name in RESERVED_WORDS else self.name
        values = ", ".join(f"'{choice}'" for choice in self.choices)
        return f"{column} IN ({values})"

    @property
    def example(self) -> Any:
        """A value in JSON."""
        if self.type == "text":
            return f"Example {self.words}"
        return self.choices[0] if self.choices else _EXAMPLES[self.type]

    @property
    def other_example(self) -> Any:
        """Another value, which is equal only if a choice is the only one."""
        if self.type == "text":
            return f"Other {self.words}"
        return self.choices[-1] if self.choices else _OTHERS[self.type]

    @property
    def wrong_example(self) -> Any:
        """A value of another type."""
        return 1 if self.type in ("text", "choice", "date", "datetime", "boolean") else "many"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """An ordered list of objects in each row, which are rows of another table."""

    name: str
    one: str
    table: str
    fields: tuple[Field, ...]

    @property
    def class_name(self) -> str:
        """The name of the model."""
        return camel_case(self.one)

    @property
    def words(self) -> str:
        """The name as words."""
        return self.name.replace("_", " ")


def all_fields(fields: tuple[Field, ...], parts: tuple[Parts, ...]) -> Iterator[Field]:
    """Yield the fields of a row and of its parts."""
    yield from fields
    for one in parts:
        yield from one.fields
