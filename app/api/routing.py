"""Blueprints whose routes are endpoints, and the converter of ids in paths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar, Unpack

from flask import Blueprint
from werkzeug.routing import BaseConverter

from app.api.access import AccessPolicy
from app.api.endpoint import Endpoint, Options
from app.api.responses import Answer
from app.components import components_of
from app.database import MAX_ID

View = TypeVar("View", bound=Callable[..., Any])
API_PATH = "/api/v1"


class IdConverter(BaseConverter):
    """Converts a path segment to the id of a row; a segment that cannot be an id to 0, which no row has.

    So 'abc' or 2**63 is handled like an unknown id: the access policy is checked first, then the response is 404.
    """

    regex = "[^/]+"
    part_isolating = True
    json_schema: ClassVar[Mapping[str, Any]] = {
        "type": "integer",
        "format": "int64",
        "minimum": 1,
        "maximum": MAX_ID,
        "examples": [1],
    }

    def to_python(self, value: str) -> int:
        if not (len(value) < 20 and value.isascii() and value.isdigit() and value[0] != "0"):
            return 0
        return int(value) if int(value) <= MAX_ID else 0


class Api(Blueprint):
    """A blueprint whose routes are endpoints, each with a required access policy."""

    def operation(
        self, method: str, rule: str, *, access: AccessPolicy, answer: Answer, **options: Unpack[Options]
    ) -> Callable[[View], View]:
        """Declare a route. The view gets the path arguments and, as far as declared, `caller`, `query` and `body`."""

        def register(view: View) -> View:
            endpoint = Endpoint(view=view, access=access, answer=answer, **options)
            name = view.__name__
            self.record(lambda state: components_of(state.app).endpoints.__setitem__(f"{self.name}.{name}", endpoint))
            self.add_url_rule(rule, name, endpoint, methods=[method])
            return view

        return register
