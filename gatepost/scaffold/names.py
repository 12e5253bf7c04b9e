"""Names of features, rows and fields: their form, and singular and plural."""

from __future__ import annotations

import keyword
import re

import click

# Names are parts of names of constraints, which have at most 63 bytes in PostgreSQL.
MAX_NAME = 24
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


class ScaffoldError(click.ClickException):
    """The feature or the project cannot be written; the text gives the reason."""


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


def camel_case(name: str) -> str:
    """Return `field_trip` as FieldTrip."""
    return "".join(word.capitalize() for word in name.split("_"))


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
