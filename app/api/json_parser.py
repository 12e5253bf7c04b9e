"""Strict parsers of JSON bodies (RFC 8259) and query strings. Schemas validate the values afterwards."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NoReturn
from urllib.parse import parse_qsl

from app.api.errors import MalformedRequest, ValidationFailed

MAX_DEPTH = 64
MAX_QUERY_PARAMETERS = 100
# The closing quote is optional: otherwise a body of many unclosed strings would take quadratic time.
_STRINGS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NOT_BRACKETS = re.compile(rb"[^\[\]{}]+")


def parse_json(data: bytes) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises MalformedRequest for anything else, and for what other parsers interpret differently: a byte order mark,
    duplicate names, NaN and Infinity, numbers beyond the range of a float, nesting deeper than 64, and integers of more
    than 4,300 digits.
    """
    _check_depth(data)
    try:
        return _DECODER.decode(data.decode())
    except UnicodeDecodeError as error:
        raise MalformedRequest("The body is not UTF-8.") from error
    except json.JSONDecodeError as error:
        raise MalformedRequest(f"The body is not JSON (line {error.lineno}, column {error.colno}).") from error
    except ValueError as error:
        raise MalformedRequest("The body has an integer with too many digits.") from error


def _check_depth(data: bytes) -> None:
    # Fast path: most bodies have few brackets.
    if data.count(b"[") + data.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    for bracket in _NOT_BRACKETS.sub(b"", _STRINGS.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise MalformedRequest(f"The body is nested more than {MAX_DEPTH} deep.")


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise MalformedRequest("The body has an object with a duplicate name.")
    return value


def _parse_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise MalformedRequest("The body has a number that is too large.")
    return value


def _refuse_constant(text: str) -> NoReturn:
    raise MalformedRequest(f"The body is not JSON: {text} is not a value.")


_DECODER = json.JSONDecoder(object_pairs_hook=_build_object, parse_float=_parse_float, parse_constant=_refuse_constant)


def parse_query(query_string: bytes) -> dict[str, str]:
    """Return the parameters of a query string (application/x-www-form-urlencoded).

    Raises MalformedRequest if it is not percent-encoded UTF-8 or has more than MAX_QUERY_PARAMETERS, ValidationFailed
    if a name occurs twice.
    """
    if not query_string:
        return {}
    try:
        pairs = parse_qsl(
            query_string.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_QUERY_PARAMETERS,
        )
    except UnicodeDecodeError as error:
        raise MalformedRequest("The query string is not percent-encoded UTF-8.") from error
    except ValueError as error:
        raise MalformedRequest("The query string has too many parameters.") from error
    values = dict(pairs)
    if len(values) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValidationFailed({name: ["Given more than once."] for name in names if names.count(name) > 1})
    return values
