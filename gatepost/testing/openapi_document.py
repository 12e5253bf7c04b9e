"""Checks responses against the OpenAPI document: status, headers and body must match the operation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from openapi_schema_validator import OAS31Validator, oas31_format_checker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012
from werkzeug.test import TestResponse
from werkzeug.wrappers import Request

HERE = "urn:document"


class Document:
    """An OpenAPI document."""

    def __init__(self, content: Mapping[str, Any]) -> None:
        self.content = content
        self._paths = [
            (re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path)
            # A path without parameters has precedence over a template that also matches.
            for path in sorted(content["paths"], key=lambda path: ("{" in path, path))
        ]

    @cached_property
    def registry(self) -> Registry[Any]:
        """The registry in which validators resolve references into the document."""
        resource: Resource[Any] = DRAFT202012.create_resource(self.content)
        registry: Registry[Any] = Registry().with_resource(HERE, resource)
        return registry

    @property
    def operations(self) -> dict[str, tuple[str, str, dict[str, Any]]]:
        """Method, path and definition of each operation, by operationId."""
        return {
            operation["operationId"]: (method.upper(), path, operation)
            for path, item in self.content["paths"].items()
            for method, operation in item.items()
        }

    def resolve(self, part: Any) -> Any:
        """Follow a reference, if `part` is one."""
        while isinstance(part, dict) and part.get("$ref", "").startswith("#/"):
            target = self.content
            for name in part["$ref"][2:].split("/"):
                target = target[name.replace("~1", "/").replace("~0", "~")]
            part = target
        return part

    def find_operation(self, method: str, path: str) -> dict[str, Any] | None:
        """Return the operation that a request is for, or None."""
        for pattern, template in self._paths:
            if pattern.fullmatch(path):
                operation: dict[str, Any] | None = self.content["paths"][template].get(method.lower())
                return operation
        return None

    def errors(self, schema: Any, value: Any) -> list[str]:
        """Return the validation errors of `value` for `schema`, which may refer to this document."""
        anchored = _anchored(schema)
        validator = OAS31Validator(anchored, registry=self.registry, format_checker=oas31_format_checker)
        return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]

    def check(self, response: TestResponse) -> None:
        """Fail unless the document describes this response to its request."""
        method = "GET" if response.request.method == "HEAD" else response.request.method
        operation = self.find_operation(method, sent_path(response.request))
        if operation is None:
            self._check_problem(response)
            return
        label = f"{operation['operationId']} {response.status_code}"
        assert str(response.status_code) in operation["responses"], f"{label} is not in the document: {response.text}"
        described = self.resolve(operation["responses"][str(response.status_code)])
        self._check_headers(label, response, described.get("headers", {}))
        content = described.get("content")
        if not content:
            assert response.data == b"", label
            return
        assert response.mimetype in content, f"{label}: {response.mimetype}"
        if response.request.method != "HEAD" and response.is_json:
            found = self.errors(content[response.mimetype]["schema"], response.get_json())
            assert not found, f"{label}: {found}"

    def _check_problem(self, response: TestResponse) -> None:
        if response.status_code in (404, 405) and response.request.method != "HEAD":
            assert response.mimetype == "application/problem+json"
            assert not self.errors({"$ref": "#/components/schemas/Problem"}, response.get_json())

    def _check_headers(self, label: str, response: TestResponse, headers: Mapping[str, Any]) -> None:
        for name, reference in headers.items():
            described = self.resolve(reference)
            value: Any = response.headers.get(name)
            if value is None:
                assert not described.get("required"), f"{label} lacks {name}"
                continue
            if described["schema"]["type"] == "integer":
                value = int(value)
            found = self.errors(described["schema"], value)
            assert not found, f"{label}: {name}: {found}"


def _anchored(part: Any) -> Any:
    """Return the schema with absolute references to the document."""
    if isinstance(part, dict):
        return {
            key: HERE + value if key == "$ref" and isinstance(value, str) else _anchored(value)
            for key, value in part.items()
        }
    return [_anchored(item) for item in part] if isinstance(part, list) else part


def sent_path(request: Request) -> str:
    """Return the path of a request as the client sent it: a slash in an argument is %2F."""
    uri: str = request.environ.get("REQUEST_URI", request.path)
    return uri.partition("?")[0]
