"""What the conformance tests run on: features with their operations and the calls of their examples."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeVar

import pytest
from flask import Flask
from sqlalchemy import Table
from werkzeug.routing import Rule

from app import create_app
from app.api.endpoint import Endpoint
from app.api.idempotency.models import KeptAnswer
from app.api.routing import API_PATH
from app.components import components_of
from app.features import Call, Examples, Feature
from app.security.rate_limits.models import RateLimit
from gatepost.testing import core_examples
from gatepost.testing.applications import UNOPENED, settings_for
from gatepost.testing.features import CORE_NAME, features_named, replaced_services

PROTECTED = ("access", "fresh", "admin")
WRITES = ("POST", "PUT", "PATCH", "DELETE")
# What such a test checks is named by its parameter.
PARAMETERS = ("subject", "operation", "example")
Test = TypeVar("Test", bound=Callable[..., Any])
CORE = Feature(name=CORE_NAME, tables=(KeptAnswer, RateLimit), examples=core_examples.EXAMPLES)


@dataclass(frozen=True, eq=False)
class Subject:
    """A feature, with what its part of the application declares."""

    feature: Feature
    operations: tuple[Operation, ...] = field(init=False)
    # Routes whose view is no endpoint, so that nothing checks their requests.
    undeclared: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.feature.name

    @property
    def examples(self) -> Examples:
        """The examples of the feature, without any if it has none."""
        return self.feature.examples or Examples()

    @property
    def tables(self) -> tuple[Table, ...]:
        """The tables of the feature, those that others refer to first."""
        own = {model.__tablename__ for model in self.feature.tables}
        metadata = self.feature.tables[0].metadata if own else None
        return tuple(table for table in metadata.sorted_tables if table.name in own) if metadata else ()


@dataclass(frozen=True, eq=False)
class Operation:
    """A route with one of its methods."""

    subject: Subject
    method: str
    rule: Rule
    endpoint: Endpoint

    def __str__(self) -> str:
        return f"{self.subject}-{self.name}"

    @property
    def name(self) -> str:
        """The name of the view, which is the operationId in the document."""
        return self.endpoint.view.__name__

    @property
    def calls(self) -> tuple[Call, ...]:
        """The calls of this operation in the examples."""
        return tuple(call for call in self.subject.examples.calls if call.operation == self.name)

    @property
    def successes(self) -> tuple[Call, ...]:
        """The calls that are to succeed."""
        return tuple(call for call in self.calls if call.status < 300)

    @property
    def success(self) -> Call:
        """The first call that is to succeed."""
        return self.successes[0]

    @property
    def is_protected(self) -> bool:
        """Whether the route refuses requests without an access token."""
        return self.endpoint.access.level in PROTECTED

    @property
    def arguments(self) -> dict[str, str]:
        """The converter of each argument in the path, "" for texts."""
        found = re.findall(r"<(?:(\w+)(?:\(.*?\))?:)?(\w+)>", self.rule.rule)
        return {name: converter.replace("default", "") for converter, name in found}

    def path(self, **arguments: str) -> str:
        """Return a path of the route, with these arguments as they are and 1 in place of the others."""
        return re.sub(r"<(?:.*?:)?(\w+)>", lambda match: arguments.get(match[1], "1"), self.rule.rule)

    @property
    def is_tagged(self) -> bool:
        """Whether its path is that of a resource whose GET has a strong entity tag."""
        return self._has_tagged(self.rule.rule)

    @property
    def acts_on_tagged(self) -> bool:
        """Whether it is an action on such a resource, such as POST /trips/{id}/finish."""
        return self.method == "POST" and self._has_tagged(self.rule.rule.rpartition("/")[0])

    def _has_tagged(self, path: str) -> bool:
        return any(
            other.rule.rule == path
            and other.method == "GET"
            and other.endpoint.answer.has_etag("GET")
            and not other.endpoint.answer.is_list
            for other in self.subject.operations
        )


@dataclass(frozen=True, eq=False)
class Example:
    """One call of the examples."""

    operation: Operation
    call: Call

    @property
    def subject(self) -> Subject:
        """The feature of the call."""
        return self.operation.subject

    def __str__(self) -> str:
        return f"{self.subject}-{self.call}"


@cache
def unopened_app() -> Flask:
    """Return an application that is never connected to a database."""
    return create_app(settings_for(UNOPENED), services=replaced_services())


@cache
def all_subjects() -> tuple[Subject, ...]:
    """Return the core and every feature of the application."""
    app = unopened_app()
    features = (CORE, *components_of(app).features)
    owners = {blueprint.name: feature for feature in features for blueprint in feature.api}
    rules: dict[str, list[Rule]] = {feature.name: [] for feature in features}
    for rule in app.url_map.iter_rules():
        rules[owners.get(rule.endpoint.rpartition(".")[0], CORE).name].append(rule)
    return tuple(_subject(app, feature, rules[feature.name]) for feature in features)


def _subject(app: Flask, feature: Feature, rules: list[Rule]) -> Subject:
    views = [(rule, app.view_functions[rule.endpoint]) for rule in rules]
    subject = Subject(feature, tuple(rule.rule for rule, view in views if not isinstance(view, Endpoint)))
    operations = [
        Operation(subject, method, rule, view)
        for rule, view in views
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if isinstance(view, Endpoint)
    ]
    object.__setattr__(subject, "operations", tuple(operations))
    return subject


def prefix_of(operation: Operation) -> str:
    """Return what comes before the paths of calls of this operation."""
    return API_PATH if operation.rule.rule.startswith(API_PATH + "/") else ""


def for_each(selects: Callable[[Any], object]) -> Callable[[Test], Test]:
    """Run a test for those subjects, operations or examples for which `selects` is true."""

    def mark(test: Test) -> Test:
        test.selects = selects  # type: ignore[attr-defined]
        return test

    return mark


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the test for each subject, operation or example. The modules with conformance tests import this hook."""
    for parameter in PARAMETERS:
        if parameter in metafunc.fixturenames:
            selects = getattr(metafunc.function, "selects", lambda found: True)
            names = [*features_named(metafunc.config.getoption("feature"))]
            chosen = [subject for subject in all_subjects() if not names or str(subject) in names]
            found = [one for subject in chosen for one in _found(parameter, subject) if selects(one)]
            metafunc.parametrize(parameter, found, ids=str)


def _found(parameter: str, subject: Subject) -> Iterator[Any]:
    if parameter == "subject":
        yield subject
    elif parameter == "operation":
        yield from subject.operations
    else:
        known = {operation.name: operation for operation in subject.operations}
        yield from (Example(known[call.operation], call) for call in subject.examples.calls if call.operation in known)
