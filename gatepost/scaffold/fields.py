"""The fields of a new feature: reads their specifications, such as `name:text`, `note:text?` and `stops[]:name`."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import click
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from app.api.fields import InputSchema
from app.database import Base

TYPES = ("text", "integer", "number", "boolean", "date", "datetime", "choice")
# Names are parts of names of constraints, which have at most 63 bytes in PostgreSQL.
MAX_NAME = 24
MAX_CHOICE = 20
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_FIELD = re.compile(r"(?P<name>[^:?\[\]=]+)(:(?P<type>\w+)(=(?P<choices>[^?]+))?)?(?P<optional>\?)?")
_PARTS = re.compile(r"(?P<name>[^:?\[\]=]+)\[\]:(?P<fields>.+)")
# Columns that every table has, and names that the generated classes use in their bodies.
_TAKEN = {"id", "user_id", "created_at", "updated_at", "position", "dt", "int", "str", "float", "bool"}
_TAKEN |= (
    {"mapped_column", "ordered_string", "fields"} | set(dir(InputSchema)) | set(dir(InputSchema())) | set(dir(Base))
)

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


class ScaffoldError(click.ClickException):
    """The feature or the project cannot be written; the text gives the reason."""


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
    fields: tuple[Field, ...] = field(default=())

    @property
    def class_name(self) -> str:
        """The name of the model."""
        return camel_case(self.one)

    @property
    def words(self) -> str:
        """The name as words."""
        return self.name.replace("_", " ")


def camel_case(name: str) -> str:
    """Return `field_trip` as FieldTrip."""
    return "".join(word.capitalize() for word in name.split("_"))


def check_form(name: str, what: str) -> None:
    """Raise ScaffoldError unless `name` is lower-case words, and short."""
    if not NAME.fullmatch(name):
        raise ScaffoldError(f"{what} {name!r} is not lower-case words such as `order_lines`.")
    if len(name) > MAX_NAME:
        raise ScaffoldError(f"{what} {name} has more than {MAX_NAME} characters.")


def check_name(name: str, what: str) -> None:
    """Raise ScaffoldError unless `name` is lower-case words, short, and no keyword."""
    check_form(name, what)
    if keyword.iskeyword(name):
        raise ScaffoldError(f"{what} {name} is a keyword of Python.")


def read_fields(specifications: tuple[str, ...], one: str) -> tuple[tuple[Field, ...], tuple[Parts, ...]]:
    """Return the fields and the parts of a row, which is called `one`. Raises ScaffoldError."""
    fields: list[Field] = []
    parts: list[Parts] = []
    for text in specifications:
        if match := _PARTS.fullmatch(text):
            parts.append(_read_parts(match["name"], match["fields"], one))
        else:
            fields.append(read_field(text, has_order=not any(known.is_sortable for known in fields)))
    _refuse_duplicates([*(known.name for known in fields), *(known.name for known in parts)], {f"{one}_id"})
    if not fields:
        raise ScaffoldError("At least one field is needed that is not a list, such as name:text.")
    return tuple(fields), tuple(parts)


def _read_parts(name: str, text: str, one: str) -> Parts:
    check_name(name, "The list")
    _refuse_taken(name)
    found = tuple(read_field(part, has_order=False, prefix=f"{singular_of(name)}_") for part in text.split(","))
    _refuse_duplicates([known.name for known in found], {f"{one}_id"})
    return Parts(name=name, one=f"{one}_{singular_of(name)}", table=f"{one}_{name}", fields=found)


def read_field(text: str, *, has_order: bool, prefix: str = "") -> Field:
    """Return the field of a specification such as `status:choice=draft/published?`. Raises ScaffoldError.

    With `has_order`, a list can be sorted by it if it is a required text. `prefix` begins the names of constants.
    """
    match = _FIELD.fullmatch(text)
    if match is None:
        raise ScaffoldError(f"{text!r} is not a field such as name:text, note:text? or 'stops[]:name,length:number'.")
    name, kind = match["name"], match["type"] or "text"
    check_name(name, "The field")
    _refuse_taken(name)
    if kind not in TYPES:
        raise ScaffoldError(f"The field {name} has the type {kind}, which is none of {', '.join(TYPES)}.")
    choices = tuple((match["choices"] or "").split("/")) if match["choices"] else ()
    _check_choices(name, kind, choices)
    is_optional = match["optional"] is not None
    return Field(
        name=name,
        type=kind,
        is_optional=is_optional,
        choices=choices,
        constant=f"{prefix}{name}_CHOICES".upper() if choices else "",
        is_sortable=has_order and kind == "text" and not is_optional,
    )


def _check_choices(name: str, kind: str, choices: tuple[str, ...]) -> None:
    if (kind == "choice") != bool(choices):
        raise ScaffoldError(f"The choices of a field are written as {name}:choice=draft/published.")
    for choice in choices:
        if not NAME.fullmatch(choice) or len(choice) > MAX_CHOICE:
            raise ScaffoldError(
                f"The choice {choice!r} of {name} is not lower-case words of at most {MAX_CHOICE} characters."
            )
    if len(set(choices)) < len(choices):
        raise ScaffoldError(f"A choice of {name} is given twice.")


def _refuse_taken(name: str) -> None:
    if name in _TAKEN:
        raise ScaffoldError(f"The name {name} has another meaning in every feature: choose another one.")


def _refuse_duplicates(names: list[str], taken: set[str]) -> None:
    seen = set(taken)
    for name in names:
        if name in seen:
            raise ScaffoldError(f"The name {name} is used twice.")
        seen.add(name)


_IRREGULAR = {
    "people": "person",
    "children": "child",
    "movies": "movie",
    "statuses": "status",
    "series": "series",
    "news": "news",
}


def singular_of(name: str) -> str:
    """Return the singular of an English plural in lower case, as far as its spelling shows it."""
    head, separator, word = name.rpartition("_")
    return head + separator + (_IRREGULAR.get(word) or _without_ending(word))


def _without_ending(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("sses", "xes", "zes", "ches", "shes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 1 else word


def all_fields(fields: tuple[Field, ...], parts: tuple[Parts, ...]) -> Iterator[Field]:
    """Yield the fields of a row and of its parts."""
    yield from fields
    for one in parts:
        yield from one.fields
