"""Writes the package of a new feature."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy.dialects.postgresql.base import RESERVED_WORDS

from app.api.routing import API_PATH
from app.components import components_of
from app.database import Base
from gatepost.scaffold.fields import MAX_CHOICE, Field, Parts, all_fields
from gatepost.scaffold.names import ScaffoldError, camel_case, check_form, check_name, singular_of
from gatepost.scaffold.specifications import read_fields

MAX_IDENTIFIER = 63
# Names that a generated module has for something else.
_MODULES = {"service", "views", "models", "schemas", "examples", "tests", "migrations", "feature", "caller", "query"}
_MODULES |= {"body", "url_for", "created", "listing", "no_content", "ok", "app", "gatepost", "flask", "row", "values"}
_CLASSES = {"Any", "Api", "Base", "Boolean", "Caller", "Created", "Date", "Double", "Feature", "Id", "Integer"}
_CLASSES |= {"Mapped", "Mapping", "Owned", "Page", "Parts", "Path", "String", "Timestamps", "Person"}


@dataclass(frozen=True, kw_only=True)
class NewFeature:
    """What is known of a feature that is to be written."""

    # The package, its last part, and what one row is called.
    package: str
    name: str
    one: str
    owned: bool
    fields: tuple[Field, ...]
    parts: tuple[Parts, ...]

    @property
    def class_name(self) -> str:
        """The name of the model."""
        return camel_case(self.one)

    @property
    def models(self) -> list[str]:
        """The names of all models."""
        return [self.class_name, *(one.class_name for one in self.parts)]

    @property
    def tables(self) -> list[str]:
        """The names of all tables."""
        return [self.name, *(one.table for one in self.parts)]

    @property
    def schemas(self) -> set[str]:
        """The names of its schemas in the OpenAPI document."""
        return {*self.models, f"New{self.class_name}", f"{self.class_name}Changes"}

    @property
    def orders(self) -> tuple[str, ...]:
        """The columns by which its list can be sorted."""
        return ("created_at", "updated_at", *(field.name for field in self.fields if field.is_sortable))

    def identifiers(self) -> Iterator[str]:
        """Yield the names of its constraints and indexes, as far as they are long."""
        yield from (f"ix_{self.name}_{'user_id_' * self.owned}{key}_id" for key in self.orders)
        yield from (f"ck_{self.name}_{field.name}" for field in self.fields if field.choices)
        for parts in self.parts:
            yield f"fk_{parts.table}_{self.one}_id_{self.name}"
            yield from (f"ck_{parts.table}_{field.name}" for field in parts.fields if field.choices)


def plan_feature(
    name: str, specifications: tuple[str, ...], *, owned: bool, into: str, singular: str | None
) -> NewFeature:
    """Return what is to be written. Raises ScaffoldError for names and fields that are not possible."""
    check_name(name, "The feature")
    if name in _MODULES or name in dir(builtins) or name in RESERVED_WORDS:
        raise ScaffoldError(f"The name {name} has another meaning in Python, in SQL, or in the modules of a feature.")
    for part in into.split("."):
        check_name(part, "The package")
    if into.split(".")[0] in ("app", "gatepost", "tests"):
        raise ScaffoldError(f"The package {into} is Gatepost's: choose one of your own for --into.")
    if into.split(".")[0] in sys.stdlib_module_names:
        raise ScaffoldError(f"{into} is a module of Python: choose another package for --into.")
    one = singular or singular_of(name)
    check_form(one, "The singular")
    fields, parts = read_fields(specifications, one)
    feature = NewFeature(package=f"{into}.{name}", name=name, one=one, owned=owned, fields=fields, parts=parts)
    _check_classes(feature)
    for identifier in feature.identifiers():
        if len(identifier) > MAX_IDENTIFIER:
            raise ScaffoldError(f"Choose shorter names: {identifier} would have more than {MAX_IDENTIFIER} bytes.")
    return feature


def _check_classes(feature: NewFeature) -> None:
    if _CLASSES & {*feature.models} or len(set(feature.models)) < len(feature.models):
        raise ScaffoldError(f"{feature.class_name} has another meaning: name a row otherwise, with --singular.")


def refuse_conflicts(feature: NewFeature, app: Flask) -> None:
    """Raise ScaffoldError if the application already has a feature, table, route or schema with one of the names."""
    shared = components_of(app)
    if feature.name in {known.name for known in shared.features} | app.blueprints.keys():
        raise ScaffoldError(f"There is a feature {feature.name} already.")
    for table in feature.tables:
        if table in Base.metadata.tables:
            raise ScaffoldError(f"There is a table {table} already.")
    path = shared.settings.service_prefix + API_PATH + "/" + feature.name.replace("_", "-")
    if any(rule.rule == path or rule.rule.startswith(f"{path}/") for rule in app.url_map.iter_rules()):
        raise ScaffoldError(f"There is a route {path} already.")
    if taken := sorted(feature.schemas & schema_names(app)):
        raise ScaffoldError(f"There is a schema {taken[0]} already: name a row otherwise, with --singular.")


def schema_names(app: Flask) -> set[str]:
    """Return the names of the schemas in the OpenAPI document."""
    document = app.test_client().get(components_of(app).settings.service_prefix + "/openapi.json").get_json()
    return set(document["components"]["schemas"])


def feature_files(feature: NewFeature) -> dict[str, str]:
    """Return the templates of a feature's files by their path in its folder."""
    return {
        "__init__.py": "__init__.py",
        "models.py": "models.py",
        "schemas.py": "schemas.py",
        "service.py": "service.py",
        "views.py": "views.py",
        "examples.py": "examples.py",
        f"migrations/0001_{feature.name}.py": "migrations/0001.py",
        "tests/__init__.py": "tests/__init__.py",
        f"tests/test_{feature.name}.py": "tests/test_feature.py",
    }


def context_of(feature: NewFeature) -> Mapping[str, Any]:
    """Return the variables of the templates."""
    every = list(all_fields(feature.fields, feature.parts))
    types = {field.type for field in every}
    return {
        **{name: getattr(feature, name) for name in ("package", "name", "one", "owned", "fields", "parts")},
        **{name: getattr(feature, name) for name in ("class_name", "models", "tables", "orders")},
        "constant": feature.one.upper(),
        "words": feature.name.replace("_", " "),
        "one_words": feature.one.replace("_", " "),
        "a_one": _with_article(feature.one.replace("_", " ")),
        "part_models": feature.models[1:],
        "every_field": every,
        "types": types,
        "top_types": {field.type for field in feature.fields},
        "dates": types & {"date", "datetime"},
        "max_choice": MAX_CHOICE,
        "column_types": _column_types(feature, every),
        "database_names": _database_names(feature, every),
        "field_names": _field_names(feature, every),
        "model_names": _model_names(feature, every),
        "body": {field.name: field.example for field in feature.fields}
        | {parts.name: [_values(parts, "example"), _values(parts, "other_example")] for parts in feature.parts},
        "other_body": {field.name: field.other_example for field in feature.fields}
        | {parts.name: [_values(parts, "other_example")] for parts in feature.parts},
        "defaults": {field.name: field.default if field.is_optional else field.example for field in feature.fields}
        | {parts.name: [] for parts in feature.parts},
        "least_body": {field.name: field.example for field in feature.fields if not field.is_optional},
    }


def _values(parts: Parts, kind: str) -> dict[str, Any]:
    return {field.name: getattr(field, kind) for field in parts.fields}


def _with_article(words: str) -> str:
    return f"an {words}" if words[0] in "aeio" else f"a {words}"


def _column_types(feature: NewFeature, fields: list[Field]) -> list[str]:
    """Return what models.py imports from SQLAlchemy."""
    names = {field.column.partition("(")[0] for field in fields} - {"UtcDateTime", "ordered_string"}
    names |= {"CheckConstraint"} if any(field.choices for field in fields) else set()
    return sorted(names | {"ForeignKey", "Integer"} if feature.parts else names)


def _database_names(feature: NewFeature, fields: list[Field]) -> list[str]:
    """Return what models.py imports from app.database, in the order that Ruff wants: constants, classes, functions."""
    own = {field.column.partition("(")[0] for field in fields} & {"UtcDateTime", "ordered_string"}
    names = own | {"IDS_ARE_USED_ONCE", "Base", "Id", "Timestamps", "ordered_by"}
    return in_order(names | {"Owned"} if feature.owned else names)


def _field_names(feature: NewFeature, fields: list[Field]) -> list[str]:
    """Return what schemas.py imports from app.api.fields."""
    names = {field.schema_type for field in fields} | ({"Items"} if feature.parts else set())
    return in_order(names | {"Identifier", "InputSchema", "OutputSchema", "Timestamp", "changes_of"})


def _model_names(feature: NewFeature, fields: list[Field]) -> list[str]:
    """Return what schemas.py imports from models.py."""
    names = {field.constant for field in fields if field.choices} | {f"MAX_{one.name.upper()}" for one in feature.parts}
    return in_order(names | {"ORDERS"} | ({"TEXT_LENGTH"} if any(f.type == "text" for f in fields) else set()))


def in_order(names: set[str]) -> list[str]:
    """Return names in the order in which Ruff sorts an import: constants, classes, and functions."""
    return sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


def package_folder(package: str) -> Path:
    """Return the folder of a package below the current folder."""
    return Path.cwd().joinpath(*package.split("."))
