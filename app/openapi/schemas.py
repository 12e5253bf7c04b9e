"""Converts Marshmallow schemas to JSON Schema, and derives examples from JSON Schemas."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, cast

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.common import resolve_schema_instance
from apispec.ext.marshmallow.openapi import OpenAPIConverter
from marshmallow import Schema, fields

from app.api.fields import OPTIONAL, OutputSchema
from app.api.pagination import MAX_LIMIT, MAX_OFFSET
from app.openapi.components import Json

_EXAMPLES: dict[str, Any] = {"integer": 1, "number": 1, "boolean": False, "string": "…", "array": [], "null": None}
_WORD = re.compile(r"[A-Z][^A-Z]*")
_CURSOR: Json = {"type": ["string", "null"]}


_CURSOR_MEMBERS: Json = {
    "next_cursor": _CURSOR
    | {
        "description": "The `cursor` of the next page, or null on the last page. A page with fewer items than "
        "`limit`, or none, can have a next page if its filters match few items."
    },
    "prev_cursor": _CURSOR | {"description": "The `cursor` of the previous page, or null on the first page."},
}
_PAGE_MEMBERS: Json = {
    "page": {"type": "integer", "minimum": 1, "description": "The number of this page."},
    "pages": {"type": "integer", "minimum": 0, "maximum": MAX_OFFSET, "description": "The number of pages."},
    "total": {
        "type": "integer",
        "minimum": 0,
        "maximum": MAX_OFFSET,
        "description": "The number of items of all pages, counted up to 10,000.",
    },
}
_CAPPED: Json = {
    "total_capped": {
        "type": "boolean",
        "enum": [True],
        "description": "Present if there are more items than `total`. Read further with cursors.",
    }
}
# One schema and not a union of two, because clients in typed languages would have to distinguish its cases before they
# can read `next_cursor`. The last three keywords allow exactly three sets of members; code generators ignore them.
PAGINATION: Json = {
    "type": "object",
    "description": "The position of a page: two cursors or, if the request has `page`, three numbers.",
    "properties": {
        "limit": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
        **_CURSOR_MEMBERS,
        **_PAGE_MEMBERS,
        **_CAPPED,
    },
    "required": ["limit"],
    "additionalProperties": False,
    "examples": [{"limit": 20, "next_cursor": "bm90IGEgcmVhbCBjdXJzb3I", "prev_cursor": None}],
    "dependentRequired": {
        name: [other for other in members if other != name]
        for members in (_CURSOR_MEMBERS, _PAGE_MEMBERS)
        for name in members
    }
    | {"total_capped": list(_PAGE_MEMBERS)},
    "minProperties": 1 + len(_CURSOR_MEMBERS),
    "maxProperties": 1 + len(_PAGE_MEMBERS) + len(_CAPPED),
}


def name_of(schema: Any) -> str:
    """Return the name of a schema in the document: its class name without the suffix "Schema" or "View"."""
    return type(resolve_schema_instance(schema)).__name__.removesuffix("Schema").removesuffix("View")


class SchemasConverter(OpenAPIConverter):
    """The converter of apispec, which in addition marks the members of response schemas as required."""

    def schema2jsonschema(self, schema: Any) -> Json:
        described: Json = super().schema2jsonschema(schema)  # type: ignore[no-untyped-call]
        instance = resolve_schema_instance(schema)
        described["description"] = inspect.getdoc(type(instance)) or ""
        for member in described["properties"].values():
            _move_default(member)
        if isinstance(instance, OutputSchema):
            optional = {
                field.data_key or name for name, field in instance.fields.items() if field.metadata.get(OPTIONAL)
            }
            described["required"] = [name for name in described["properties"] if name not in optional]
        return described

    def field2property(self, field: fields.Field[Any]) -> Json:
        described: Json = super().field2property(field)
        # JSON Schema 2020-12 has the list `examples` in place of the `example` of OpenAPI 3.0.
        if "example" in described:
            described["examples"] = [described.pop("example")]
        for bound in ("minLength", "minItems"):
            if described.get(bound) == 0:
                del described[bound]
        # Code generators do not intersect schemas. JSON Schema 2020-12 allows keywords beside a reference.
        for part in described.pop("allOf", ()):
            described |= part
        # All members of a request's schema are written and never read. Some generators of clients make two types of a
        # schema in which only some are marked.
        described.pop("writeOnly", None)
        return described


def _move_default(member: Json) -> None:
    """Move the default of a member of a body to its description.

    Code generators make a member with a `default` compulsory in the types of requests.
    """
    if "default" in member:
        default = member.pop("default")
        member.setdefault("examples", [default])
        about = f"{member['description']} " if "description" in member else ""
        member["description"] = f"{about}The default is `{json.dumps(default)}`."


class SchemasPlugin(MarshmallowPlugin):
    """apispec's plugin for Marshmallow, with SchemasConverter."""

    Converter = SchemasConverter

    def __init__(self) -> None:
        super().__init__(schema_name_resolver=name_of)


class Schemas:
    """The schemas of one document. A schema is added to the components at its first use."""

    def __init__(self, spec: APISpec, plugin: SchemasPlugin) -> None:
        self._spec = spec
        # APISpec() sets `converter` on its plugins.
        self._converter = cast("OpenAPIConverter", plugin.converter)

    def one(self, schemas: Sequence[Schema]) -> Json:
        """Return a reference to a schema or, of several, to a schema that allows each of them."""
        refs: list[Json] = [
            self._converter.resolve_nested_schema(schema)  # type: ignore[no-untyped-call]
            for schema in schemas
        ]
        if len(refs) == 1:
            return dict(refs[0])
        members = self._spec.components.schemas
        # The schema with most members first, because generated clients use the first one whose members are all present.
        ordered = sorted(refs, key=lambda ref: -len(members[_component(ref)]["properties"]))
        choice = {
            "oneOf": ordered,
            "description": "The schema depends on the caller.",
            "examples": [self.example(refs[0])],
        }
        return self._add(_common_name(schemas), choice)

    def page(self, schemas: Sequence[Schema]) -> Json:
        """Return a reference to the list envelope with items of these schemas."""
        items = {"type": "array", "items": self.one(schemas), "maxItems": MAX_LIMIT}
        members = {"items": items, "pagination": self._add("Pagination", PAGINATION)}
        closed = {"type": "object", "properties": members, "required": list(members), "additionalProperties": False}
        return self._add(_common_name(schemas) + "Page", closed)

    def parameters(self, schema: Schema) -> list[Json]:
        """Return the query parameters of a schema."""
        found = self._converter.schema2parameters(schema, location="query")
        return [{name: value for name, value in item.items() if name != "required" or value} for item in found]

    def example(self, schema: Json) -> Any:
        """Return an example that `schema` allows, composed of the examples of its members."""
        if "$ref" in schema:
            return self.example(self._spec.components.schemas[_component(schema)])
        if "examples" in schema:
            return schema["examples"][0]
        for choices in ("oneOf", "anyOf", "allOf"):
            if choices in schema:
                return self.example(schema[choices][0])
        if "default" in schema:
            return schema["default"]
        if "enum" in schema:
            return schema["enum"][0]
        if "items" in schema:
            return [self.example(schema["items"])] * schema.get("minItems", 1)
        if "properties" in schema:
            return {name: self.example(member) for name, member in schema["properties"].items()}
        # Of several types, such as those of a nullable member, the first.
        kind = schema.get("type", "object")
        example = _EXAMPLES.get(kind if isinstance(kind, str) else kind[0], {})
        if type(example) is int:
            return max(min(example, schema.get("maximum", example)), schema.get("minimum", example))
        return example

    def _add(self, name: str, schema: Json) -> Json:
        if name not in self._spec.components.schemas:
            self._spec.components.schema(name, schema)
        return {"$ref": f"#/components/schemas/{name}"}


def _component(reference: Json) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _common_name(schemas: Sequence[Schema]) -> str:
    """Return the words that all names of these schemas end in, such as "User" for PublicUser and PrivateUser."""
    names = [name_of(schema) for schema in schemas]
    last_words = zip(*(reversed(_WORD.findall(name)) for name in names), strict=False)
    common = [words[0] for words in takewhile(lambda words: len(set(words)) == 1, last_words)]
    return "".join(reversed(common)) or "Or".join(names)
