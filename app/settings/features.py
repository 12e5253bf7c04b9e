"""Imports the features that FEATURES names, and reads their settings. Must not import Flask."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from importlib import import_module
from typing import Any

from sqlalchemy.exc import InvalidRequestError

from app.features import Feature
from app.settings.environment import InvalidValue, read_variable
from app.settings.metadata import DECLARATION, Declaration

# PostgreSQL's names have at most 63 bytes, and that of the version table begins with alembic_version_.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


def parse_features(text: str) -> tuple[str, ...]:
    """Return the comma-separated names of packages that have a `feature`. Raises InvalidValue that lists all mistakes.

    An error inside a package is not caught: its traceback says where it is.
    """
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    mistakes: list[str] = []
    packages: dict[str, str] = {}
    for name in names:
        try:
            feature = find_feature(name)
        except InvalidValue as error:
            mistakes.append(str(error))
            continue
        if packages.setdefault(feature.name, name) != name:
            mistakes.append(f"{packages[feature.name]} and {name} are both named {feature.name}.")
    if mistakes:
        raise InvalidValue(" ".join(mistakes))
    return names


def find_feature(name: str) -> Feature:
    """Import the package `name` and return its feature. Raises InvalidValue if there is none."""
    if not all(part.isidentifier() for part in name.split(".")):
        raise InvalidValue(f"{name} is not the name of a Python package, such as shop.orders.")
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise InvalidValue(f"There is no Python package {name}.") from error
    except InvalidRequestError as error:
        # Two models have the same table.
        raise InvalidValue(f"The package {name} cannot be used: {str(error).partition('. ')[0]}.") from error
    found = getattr(module, "feature", None)
    if not isinstance(found, Feature):
        raise InvalidValue(f"The package {name} has no Feature with the name `feature`.")
    if not _NAME.fullmatch(found.name):
        raise InvalidValue(
            f"The name of the feature in {name} must be lower-case letters, digits and underscores, at most 40: "
            f"{found.name}."
        )
    return found


def declarations_of(feature: Feature) -> Iterator[tuple[str, str, Declaration]]:
    """Yield the variable, the field and the declaration of each setting of a feature."""
    for one in fields(feature.settings) if feature.settings else ():
        yield f"{feature.name}_{one.name}".upper(), one.name, one.metadata[DECLARATION]


def read_feature_settings(values: Mapping[str, Any], problems: dict[str, list[str]]) -> dict[type, Any]:
    """Return the settings of the features by their class, and add what is wrong with them to `problems`.

    `values` are the settings of the core, which name the features.
    """
    found: dict[type, Any] = {}
    for feature in map(find_feature, values.get("features", ())):
        own: dict[str, Any] = {}
        for variable, name, declaration in declarations_of(feature):
            if variable.lower() in values:
                problems[variable] = [f"The feature {feature.name} declares this setting, which the core has too."]
                continue
            try:
                text = read_variable(variable)
                own[name] = declaration.parser(text) if text else declaration.default_value({**values, **own})
            except InvalidValue as error:
                problems[variable] = [str(error)]
        if feature.settings and len(own) == len(fields(feature.settings)):
            found[feature.settings] = feature.settings(**own)
    return found
