"""Reads the specifications of fields, such as `name:text`, `note:text?` and `stops[]:name,length:number`."""

from __future__ import annotations

import re

from app.api.fields import InputSchema
from app.database import Base
from gatepost.scaffold.fields import MAX_CHOICE, Field, Parts
from gatepost.scaffold.names import NAME, ScaffoldError, check_name, singular_of

TYPES = ("text", "integer", "number", "boolean", "date", "datetime", "choice")
_FIELD = re.compile(r"(?P<name>[^:?\[\]=]+)(:(?P<type>\w+)(=(?P<choices>[^?]+))?)?(?P<optional>\?)?")
_PARTS = re.compile(r"(?P<name>[^:?\[\]=]+)\[\]:(?P<fields>.+)")
# Columns that every table has, and names that the generated classes use in their bodies.
_TAKEN = {"id", "user_id", "created_at", "updated_at", "position", "dt", "int", "str", "float", "bool"}
_TAKEN |= (
    {"mapped_column", "ordered_string", "fields"} | set(dir(InputSchema)) | set(dir(InputSchema())) | set(dir(Base))
)


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
