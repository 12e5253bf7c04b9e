"""What views share: an endpoint declares who may call it, what it takes and what it answers.

Owns the order in which a request is judged and how an answer is written. Must not know any feature.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, ClassVar, TypeVar

from flask import Blueprint, Response, request
from flask.sansio.app import App
from marshmallow import Schema, ValidationError
from werkzeug.routing import BaseConverter

from app import idempotency
from app.body import JSON, read_body
from app.db import MAX_ID, transaction
from app.dumping import as_json, compiled
from app.errors import PreconditionFailed, Problem, ValidationFailed
from app.etags import etag_of, has_preconditions, is_unchanged, require_match
from app.fields import InputSchema
from app.guards import Caller, Guard
from app.json_reader import parse_json, parse_query
from app.pagination import Page

View = TypeVar("View", bound=Callable[..., Any])
API_PATH = "/api/v1"
ENDPOINTS = "gatepost.endpoints"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
KNOWN_QUERY_CHARACTERS = 40
NO_STORE = "no-store"
REVALIDATE = "no-cache"


@dataclass(frozen=True, slots=True)
class Answer:
    """What an endpoint answers when all is well. Several schemas mean that the caller decides which."""

    status: int
    schemas: tuple[Schema, ...] = ()
    is_list: bool = False
    is_created: bool = False
    describes: str = ""
    media_type: str = JSON
    # Whether the tag that the answer to a read, or to a creation, carries is the resource's own.
    is_tagged: bool = True
    # Media types that the view may choose instead, by Accept; none is described beyond that.
    others: tuple[str, ...] = ()
    # The Cache-Control of what the view writes itself; "" leaves it to who may call.
    cache: str = ""
    # Statuses beside `status` that come in the same shape, and headers of this answer alone, with what they tell.
    also: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def has_etag(self, method: str) -> bool:
        """Whether an answer to this method carries an entity tag: to POST only when the new resource is shown."""
        return self.is_tagged and self.status != 204 and (method != "POST" or self.is_created)


def ok(*schemas: Schema, describes: str = "", headers: Mapping[str, str] | None = None) -> Answer:
    """200 with one object, which carries a strong ETag."""
    return Answer(200, schemas, describes=describes, headers=headers or {})


def listing(*schemas: Schema, describes: str = "") -> Answer:
    """200 with a page of objects in the list envelope, which carries a weak ETag and Link."""
    return Answer(200, schemas, is_list=True, describes=describes)


def created(
    *schemas: Schema, is_tagged: bool = True, describes: str = "", headers: Mapping[str, str] | None = None
) -> Answer:
    """201 with the new object, its Location and its ETag; not `is_tagged` when it shows more than the object.

    The tag of a 201 is that of the resource at Location (RFC 9110 section 15.3.2).
    """
    return Answer(201, schemas, is_created=True, is_tagged=is_tagged, describes=describes, headers=headers or {})


def written(
    *schemas: Schema,
    media_type: str = JSON,
    cache: str = NO_STORE,
    is_tagged: bool = False,
    also: tuple[int, ...] = (),
    others: tuple[str, ...] = (),
    headers: Mapping[str, str] | None = None,
    describes: str = "",
) -> Answer:
    """200, or one of `also`, with a body that the view writes itself."""
    return Answer(
        200,
        schemas,
        describes=describes,
        media_type=media_type,
        is_tagged=is_tagged,
        cache=cache,
        also=also,
        others=others,
        headers=headers or {},
    )


def no_content(describes: str = "", *, headers: Mapping[str, str] | None = None) -> Answer:
    """204 without a body."""
    return Answer(204, describes=describes, headers=headers or {})


@dataclass(frozen=True, slots=True)
class Shaped:
    """A value with the schema its caller may see it by, where an endpoint declares several."""

    value: Any
    schema: Schema


@dataclass(frozen=True, slots=True)
class Created:
    """A new resource and where it is."""

    value: Any
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Everything a route declares; the OpenAPI document and the route tests read it too."""

    view: Callable[..., Any]
    access: Guard
    answer: Answer
    query: Schema | None
    body: Schema | None
    body_required: bool
    problems: tuple[type[Problem], ...]
    idempotent: bool
    # Work on the body that takes long, such as hashing a password: done before a transaction holds a lock.
    prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None
    # JSON Schemas of path arguments whose converter has none.
    arguments: Mapping[str, Mapping[str, Any]]

    def __call__(self, **path: Any) -> Response:
        """Judge the request in the one order there is: caller, query, body; then run the view and answer."""
        arguments = dict(path)
        caller = self.access.admit()
        if self.access.need not in ("nothing", "token"):
            arguments["caller"] = caller
        query = self._load_query()
        if self.query is not None:
            arguments["query"] = query
        body = self._load_body()
        if self.body is not None:
            arguments["body"] = body if self.prepare is None else self.prepare(body)
        with transaction():
            outcome = self._run(caller, arguments, body)
        if isinstance(outcome, Problem):
            raise outcome  # after the commit: what the view wrote beside its refusal stays
        return outcome

    def _run(self, caller: Caller | None, arguments: dict[str, Any], body: Mapping[str, Any]) -> Response | Problem:
        key = idempotency.requested_key() if self.idempotent else None
        if key is None or caller is None:
            return self._outcome(self.view(**arguments), caller)
        claim = idempotency.claim(caller, key, body)
        if isinstance(claim, idempotency.KeptAnswer):
            return _replayed(claim)
        outcome = self._outcome(self.view(**arguments), caller)
        if isinstance(outcome, Response) and outcome.status_code < 400:
            idempotency.keep(
                claim,
                status=outcome.status_code,
                location=outcome.headers.get("Location", ""),
                etag=outcome.headers.get("ETag", ""),
                body=outcome.get_data(),
            )
        return outcome

    def _outcome(self, result: Any, caller: Caller | None) -> Response | Problem:
        if isinstance(result, Problem):
            return result
        if isinstance(result, Response):
            result.headers.setdefault("Cache-Control", self.answer.cache or NO_STORE)
            return result
        if self.answer.status == 204:
            return empty()
        if isinstance(result, Page):
            return self._answer_page(result, caller)
        location = result.location if isinstance(result, Created) else None
        value = result.value if isinstance(result, Created) else result
        content = dump_bytes(value, self.answer.schemas[0])
        headers = self._headers(caller)
        if self.answer.has_etag(request.method):
            headers["ETag"] = etag_of(content)
        if location is not None:
            headers["Location"] = location
        return _respond(content, self.answer.status, headers)

    def _answer_page(self, page: Page, caller: Caller | None) -> Response:
        schema = self.answer.schemas[0]
        show = compiled(schema)
        items = [dump(item, schema) if isinstance(item, Shaped) else show(item) for item in page.items]
        content = as_json({"items": items, "pagination": page.pagination})
        headers = self._headers(caller) | {"ETag": etag_of(content, weak=True)}
        if page.links:
            headers["Link"] = ", ".join(f'<{url}>; rel="{rel}"' for rel, url in page.links.items())
        return _respond(content, 200, headers)

    @property
    def cache_controls(self) -> tuple[str, ...]:
        """The values that Cache-Control may have in an answer: one, or with a caller and without."""
        if self.answer.cache:
            return (self.answer.cache,)
        return (NO_STORE, REVALIDATE) if self.access.need == "optional" and self.answer.status != 204 else (NO_STORE,)

    def _headers(self, caller: Caller | None) -> dict[str, str]:
        if self.access.need != "optional":
            return {"Cache-Control": NO_STORE}
        # One URL, two representations: what a cache holds for nobody must not answer somebody.
        return {"Cache-Control": NO_STORE if caller else REVALIDATE, "Vary": "Authorization"}

    def _load_query(self) -> dict[str, Any]:
        raw = request.environ.get("QUERY_STRING", "")
        if not raw and self.query is None:
            return {}
        # What a query string says depends on nothing else; a cursor's will hardly come again.
        load_raw = _load_known_query if len(raw) <= KNOWN_QUERY_CHARACTERS else _load_query_string
        return dict(load_raw(self.query or _NOTHING, raw))

    def _load_body(self) -> dict[str, Any]:
        if request.method in SAFE_METHODS:
            return {}
        data = read_body()
        if not data and (self.body is None or not self.body_required):
            return {} if self.body is None else load(self.body, {})
        return load(self.body or _NOTHING, parse_json(data))


_NOTHING = InputSchema()


def _load_query_string(schema: Schema, raw: str) -> dict[str, Any]:
    return load(schema, parse_query(raw.encode("latin-1")))


_load_known_query = lru_cache(maxsize=1024)(_load_query_string)


def load(schema: Schema, data: Any) -> dict[str, Any]:
    """Return `data` validated; raises ValidationFailed with the texts of every field that can't be taken."""
    try:
        loaded: dict[str, Any] = schema.load(data)
    except ValidationError as error:
        messages = error.messages if isinstance(error.messages, dict) else {"_schema": error.messages}
        # Marshmallow's frame holds the error, and the data; the error holds the frame. As a cycle, bodies of a megabyte
        # would stay until the collector comes by.
        raise ValidationFailed(messages) from error.with_traceback(None)
    return loaded


def dump(value: Any, schema: Schema) -> dict[str, Any]:
    """Return what `schema` shows of `value`, by the schema that came with the value if one did, for `as_json`."""
    if isinstance(value, Shaped):
        value, schema = value.value, value.schema
    return compiled(schema)(value)


def dump_bytes(value: Any, schema: Schema) -> bytes:
    """Return the JSON of what `schema` shows of `value`."""
    return as_json(dump(value, schema))


def require_unchanged(value: Any, schema: Schema) -> None:
    """Hold a write to If-Match and If-None-Match, given the resource as its caller would read it now.

    Raises PreconditionFailed. Call it after the row is locked.
    """
    if has_preconditions():
        require_match(etag_of(dump_bytes(value, schema)))


def require_untagged() -> None:
    """Hold a write to If-Match on a resource that has no tag: only '*' can be true. Raises PreconditionFailed."""
    if request.environ.get("HTTP_IF_MATCH", "*").strip() != "*":
        raise PreconditionFailed


def _respond(content: bytes, status: int, headers: dict[str, str]) -> Response:
    if status == 200 and request.method in SAFE_METHODS and is_unchanged(headers["ETag"]):
        return Response(status=304, headers=headers)
    return Response(content, status, headers, mimetype=JSON)


def empty() -> Response:
    """Return a 204."""
    response = Response(status=204, headers={"Cache-Control": NO_STORE})
    # Werkzeug's default, text/html, would describe a body that is not there.
    del response.headers["Content-Type"]
    return response


def _replayed(kept: idempotency.KeptAnswer) -> Response:
    headers = {
        "Cache-Control": NO_STORE,
        "Idempotency-Replayed": "true",
        "Location": kept.location,
        "ETag": kept.etag,
    }
    return Response(kept.body, kept.status, {k: v for k, v in headers.items() if v}, mimetype=JSON)


class IdConverter(BaseConverter):
    """A path segment that names a row. What can't be an id becomes 0, which no row has.

    So a segment like 'abc' or 2**63 is judged as any unknown id is: who may call first, then 404.
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
        if not (value.isascii() and value.isdigit() and len(value) < 20 and value[0] != "0"):
            return 0
        return int(value) if int(value) <= MAX_ID else 0


class Api(Blueprint):
    """A blueprint whose routes are endpoints: none can be added that does not say who may call it."""

    def operation(
        self,
        method: str,
        rule: str,
        *,
        access: Guard,
        answer: Answer,
        query: Schema | None = None,
        body: Schema | None = None,
        body_required: bool = True,
        problems: tuple[type[Problem], ...] = (),
        idempotent: bool = False,
        prepare: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
        arguments: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Callable[[View], View]:
        """Declare a route. The view gets its path arguments and, by name, `caller`, `query` and `body`."""

        def register(view: View) -> View:
            endpoint = Endpoint(
                view=view,
                access=access,
                answer=answer,
                query=query,
                body=body,
                body_required=body_required,
                problems=problems,
                idempotent=idempotent,
                prepare=prepare,
                arguments=arguments or {},
            )
            name = view.__name__
            self.record(lambda state: _endpoints(state.app).__setitem__(f"{self.name}.{name}", endpoint))
            self.add_url_rule(rule, name, endpoint, methods=[method])
            return view

        return register


def _endpoints(app: App) -> dict[str, Endpoint]:
    endpoints: dict[str, Endpoint] = app.extensions.setdefault(ENDPOINTS, {})
    return endpoints


def summary(endpoint: Endpoint) -> str:
    """The view's docstring: what the route does, for the API's reader."""
    return inspect.getdoc(endpoint.view) or ""
