"""Which features the tests run with: those of FEATURES, and those that `--feature` names."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

from app import BUILT_IN
from app.features import Feature
from app.settings.environment import InvalidValue
from app.settings.features import declarations_of, find_feature, parse_features

VARIABLE = "FEATURES"
# The routes and tables of the core are checked like those of a feature; it has no name in FEATURES.
CORE_NAME = "core"


def switched_on() -> tuple[Feature, ...]:
    """Return the features that FEATURES names. Raises InvalidValue."""
    return tuple(map(find_feature, parse_features(os.environ.get(VARIABLE, ""))))


def switch_on(names: Iterable[str]) -> None:
    """Add those of the names that are packages of features to FEATURES, and set what their examples need.

    A name may also be that of a built-in feature or of one that is on. Raises InvalidValue for any other.
    """
    for name in names:
        if name not in {CORE_NAME, *(feature.name for feature in (*BUILT_IN, *switched_on()))}:
            try:
                find_feature(name)
            except InvalidValue as error:
                on = ", ".join(feature.name for feature in (*BUILT_IN, *switched_on()))
                raise InvalidValue(f"No feature {name} is on: these are {on}. {error}") from error
            os.environ[VARIABLE] = ",".join(filter(None, (os.environ.get(VARIABLE, ""), name)))
    for feature in switched_on():
        for variable, value in feature.examples.environment.items() if feature.examples else ():
            os.environ.setdefault(variable, value)


def require_examples(names: Iterable[str]) -> None:
    """Raise InvalidValue for a feature without examples, of which the conformance tests would know nothing to send."""
    named = set(features_named(names))
    for feature in (*BUILT_IN, *switched_on()):
        if feature.name in named and feature.examples is None:
            raise InvalidValue(f"The feature {feature.name} has no `examples`: see docs/extending.md.")


def features_named(names: Iterable[str]) -> Iterator[str]:
    """Yield the names of features, for names of features or of their packages."""
    known = {CORE_NAME, *(feature.name for feature in BUILT_IN)}
    for name in names:
        yield name if name in known or name in {one.name for one in switched_on()} else find_feature(name).name


def feature_environment() -> dict[str, str]:
    """Return the variables that a server needs for the features that are switched on."""
    variables = [VARIABLE, *(name for one in switched_on() for name, _, _ in declarations_of(one))]
    return {name: os.environ[name] for name in variables if name in os.environ}


def replaced_services() -> dict[type, Any]:
    """Return the services that the examples of the features replace, for create_app()."""
    examples = [feature.examples for feature in switched_on() if feature.examples]
    return {kind: make() for one in examples for kind, make in one.services.items()}
