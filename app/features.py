"""A feature: a package that adds resources to the service. The core looks at nothing of a feature but this object.

The built-in features are made of it, and FEATURES names the packages of others. docs/extending.md is the guide. This
module must not import Flask, because the settings are read before the application exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import click
    from flask import Blueprint, Flask

    from app.api.errors import Problem
    from app.database import Base
    from app.settings import Settings

# The tables that the migrations of a feature create, of every feature that was imported, also if it is switched off.
FEATURE_TABLES: set[str] = set()
# Takes the id of a user, and yields the objects of one member of the user's export. Their values are those of JSON, or
# aware times.
Exporter = Callable[[int], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Call:
    """A request to a feature's routes, and the expected status.

    `{name}` in the path, the body and the headers is replaced by what earlier calls saved under this name; a text that
    is nothing else becomes the saved value with its type. Predefined are `{alice}`, `{bob}` and `{carol}`, the ids of
    the users, `{password}`, the same for all, `{missing}`, an id that no row has, and `{session}` and `{refresh}`, the
    id of Alice's session and its refresh token.
    """

    # The name of the view.
    operation: str
    status: int
    # Method and path below /api/v1, such as "POST /trips"; the whole path of a route that is not below it.
    request: str
    _: KW_ONLY
    # "" without credentials, "alice" as the owner, "bob" as another user, "carol" as an administrator.
    by: str = ""
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    # By name, a member of the response's body, such as "id" or "items.0.id", or the header "ETag" or "Location".
    saves: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.operation}-{self.status}-{self.by or 'anonymous'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """What the conformance tests need to know of a feature: `pytest --feature NAME` runs them.

    `calls` has each operation with its success and with each problem that its route declares.
    """

    # Run in this order before each test, to create rows: in each list at least two, in each table one of Alice.
    setup: tuple[Call, ...] = ()
    calls: tuple[Call, ...] = ()
    # What the tests would take for a mistake, with the reason: "table.column" that the export leaves out or that keeps
    # the id of a deleted user, the name of an operation that writes without credentials.
    exceptions: Mapping[str, str] = field(default_factory=dict)
    # Environment variables for the tests, such as settings of the feature without a default.
    environment: Mapping[str, str] = field(default_factory=dict)
    # Services for create_app(), by type, made for the tests in place of those that reach the world outside.
    services: Mapping[type, Callable[[], Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """Everything that a feature adds to the service.

    `name` is lower case and names its migration line, whose versions are in the table `alembic_version_<name>`, and its
    settings, whose variables begin with `<NAME>_`.
    """

    name: str
    # Blueprints, served below /api/v1 and their own `url_prefix`.
    api: tuple[Blueprint, ...] = ()
    # Its models. No other feature's migrations concern their tables.
    tables: tuple[type[Base], ...] = ()
    # The folder of its Alembic revisions. None if it has no tables of its own, or if the core's line creates them.
    migrations: Path | None = None
    # The members that it adds to the export of a user.
    exports: Mapping[str, Exporter] = field(default_factory=dict)
    # Its problems, besides those that its routes declare.
    problems: tuple[type[Problem], ...] = ()
    commands: tuple[click.Command, ...] = ()
    # A frozen dataclass of fields made by `setting()`.
    settings: type | None = None
    examples: Examples | None = None
    # Anything else to be done once for each application, before its routes are registered.
    init_app: Callable[[Flask, Settings], None] | None = None

    def __post_init__(self) -> None:
        if self.migrations is not None:
            FEATURE_TABLES.update(table.__tablename__ for table in self.tables)

    def claims(self) -> Iterator[tuple[str, str]]:
        """Yield the kind and the name of everything that no other feature may have."""
        yield "name", self.name
        yield from (("blueprint", blueprint.name) for blueprint in self.api)
        yield from (("table", table.__tablename__) for table in self.tables)
        yield from (("member of the export", member) for member in self.exports)
        yield from (("command", command.name or "") for command in self.commands)


def find_conflicts(features: Iterable[Feature]) -> Iterator[str]:
    """Yield the reasons why these features cannot run together."""
    owners: dict[tuple[str, str], Feature] = {}
    for feature in features:
        for kind, name in feature.claims():
            other = owners.setdefault((kind, name), feature)
            if other is not feature:
                yield f"The features {other.name} and {feature.name} have the same {kind}: {name}."
