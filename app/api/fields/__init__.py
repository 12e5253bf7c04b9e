"""Schemas and their fields: Marshmallow's, but strict, and with what the OpenAPI document shows of them."""

from __future__ import annotations

from app.api.fields.schemas import OPTIONAL, Inline, InputSchema, Items, OutputSchema, changes_of
from app.api.fields.text import Choice, Text, TextLength, Title, has_control_characters, text_pattern
from app.api.fields.values import (
    Date,
    DateTime,
    Flag,
    Identifier,
    Integer,
    Number,
    QueryFlag,
    QueryInteger,
    Timestamp,
    format_timestamp,
)

__all__ = [
    "OPTIONAL",
    "Choice",
    "Date",
    "DateTime",
    "Flag",
    "Identifier",
    "Inline",
    "InputSchema",
    "Integer",
    "Items",
    "Number",
    "OutputSchema",
    "QueryFlag",
    "QueryInteger",
    "Text",
    "TextLength",
    "Timestamp",
    "Title",
    "changes_of",
    "format_timestamp",
    "has_control_characters",
    "text_pattern",
]
