"""Generates the document: its info, tags and components, and one operation per route."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from apispec import APISpec
from flask import Flask
from werkzeug.routing import Rule

from app.api.endpoint import Endpoint
from app.components import components_of
from app.openapi.components import HEADER_PARAMETERS, HEADERS, SECURITY_SCHEMES, refresh_cookie_scheme
from app.openapi.operations import Operation, make_operation
from app.openapi.problems import FIELD_ERRORS, problem_schema
from app.openapi.schemas import Schemas, SchemasPlugin

OPENAPI_VERSION = "3.1.0"
TITLE = "Gatepost"
# The version of the HTTP contract, as in /api/v1. The version of the software is not published.
VERSION = "1.0.0"
ABOUT = """\
Accounts, sessions and posts.

All errors are `application/problem+json` (RFC 9457). Programs should decide by `code`. Unknown fields and unknown query
parameters are errors. Every route that supports `GET` supports `HEAD`. A request can have an `X-Request-ID` of 1 to 128
letters, digits, dots, underscores and hyphens. The response repeats it, or has a new one if the request had none.
"""
# Packages whose routes are for operators and share one tag.
OPERATIONS_PACKAGES = frozenset({"maintenance", "observability", "openapi"})
OPERATIONS_TAG = ("operations", "Health, metrics, maintenance mode, and this document.")
_ARGUMENT = re.compile(r"<(?:(?P<converter>[A-Za-z_]\w*)(?:\(.*?\))?:)?(?P<name>\w+)>")


def make_document(app: Flask) -> dict[str, Any]:
    """Return the OpenAPI document of every endpoint of the application."""
    settings = components_of(app).settings
    plugin = SchemasPlugin()
    spec = APISpec(
        TITLE,
        VERSION,
        OPENAPI_VERSION,
        plugins=[plugin],
        info={"description": ABOUT, "license": {"name": "MIT", "identifier": "MIT"}},
        servers=[{"url": settings.service_prefix or "/"}],
    )
    _add_components(spec, components_of(app).problems, settings.cookie_name)
    schemas = Schemas(spec, plugin)
    tags: dict[str, str] = {}
    for rule, endpoint in endpoints_of(app):
        path = _ARGUMENT.sub(r"{\g<name>}", rule.rule).removeprefix(settings.service_prefix) or "/"
        tag, about = _tag_of(app, rule)
        tags[tag] = about
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            operation = Operation(
                endpoint, method, path, settings.service_prefix, tag, _path_parameters(app, rule, endpoint)
            )
            spec.path(path=path, operations={method.lower(): make_operation(operation, spec, schemas)})
    for tag, about in sorted(tags.items()):
        spec.tag({"name": tag, "description": about})
    return {"openapi": OPENAPI_VERSION} | spec.to_dict()


def endpoints_of(app: Flask) -> Iterator[tuple[Rule, Endpoint]]:
    """Yield the routes, ordered by path. A route that is served both with and without the prefix is yielded once."""
    seen = set()
    prefix = components_of(app).settings.service_prefix
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        endpoint = app.view_functions[rule.endpoint]
        if isinstance(endpoint, Endpoint) and rule.rule.startswith(prefix) and id(endpoint) not in seen:
            seen.add(id(endpoint))
            yield rule, endpoint


def _add_components(spec: APISpec, problem_codes: Iterable[str], cookie_name: str) -> None:
    spec.components.schema("Problem", problem_schema(problem_codes))
    spec.components.schema("FieldErrors", FIELD_ERRORS)
    for name, header in HEADERS.items():
        spec.components.header(name, header)
    for parameter in HEADER_PARAMETERS:
        spec.components.parameter(parameter["name"], "header", parameter)
    cookie = {"refreshCookie": refresh_cookie_scheme(cookie_name)}
    for name, scheme in (SECURITY_SCHEMES | cookie).items():
        spec.components.security_scheme(name, scheme)


def _path_parameters(app: Flask, rule: Rule, endpoint: Endpoint) -> list[dict[str, Any]]:
    parameters = []
    for match in _ARGUMENT.finditer(rule.rule):
        name = match["name"]
        converter = app.url_map.converters[match["converter"] or "default"]
        schema = endpoint.arguments.get(name) or getattr(converter, "json_schema", {"type": "string"})
        noun, is_id = name.removesuffix("_id"), name.endswith("_id")
        about = f"The id of the {noun}." if is_id else f"The {noun}."
        parameters.append({"name": name, "in": "path", "required": True, "description": about, "schema": dict(schema)})
    return parameters


def _tag_of(app: Flask, rule: Rule) -> tuple[str, str]:
    """Return the tag of a route: the name of the package of its blueprint, and that package's docstring."""
    blueprint = app.blueprints[rule.endpoint.rpartition(".")[0]]
    module = blueprint.import_name.rpartition(".")[0] or blueprint.import_name
    name = module.rpartition(".")[2]
    if name in OPERATIONS_PACKAGES:
        return OPERATIONS_TAG
    return name, inspect.getdoc(sys.modules[module]) or ""
