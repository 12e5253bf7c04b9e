"""Endpoints: a view with what it declares (access, query, body, response), and the processing of its requests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypedDict

from flask import Response, request
from marshmallow import Schema

from app.api.access import AccessPolicy, Caller
from app.api.conditional import etag_of, is_not_modified, require_untagged
from app.api.errors import NotFound, PreconditionFailed, Problem
from app.api.fields import InputSchema, has_control_characters
from app.api.idempotency import service as idempotency
from app.api.idempotency.models import KeptAnswer
from app.api.json_parser import parse_json, parse_query
from app.api.pagination import Page
from app.api.request_body import JSON, load, read_body
from app.api.responses import NO_STORE, REVALIDATE, Answer, Created, Shaped, empty
from app.api.serialization import as_json, compiled, dump, dump_bytes
from app.database import transaction

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CACHED_QUERY_LENGTH = 40
MAX_ARGUMENT_LENGTH = 1024


Prepare = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Options(TypedDict, total=False):
    """The fields of an Endpoint that a route need not declare."""

    query: Schema
    body: Schema
    body_required: bool
    problems: tuple[type[Problem], ...]
    idempotent: bool
    prepare: Prepare
    arguments: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A view function and what its route declares. The OpenAPI document is generated from the same declaration."""

    view: Callable[..., Any]
    access: AccessPolicy
    answer: Answer
    query: Schema | None = None
    body: Schema | None = None
    body_required: bool = True
    # An endpoint with PreconditionFailed compares the tag of its resource itself, under the lock of the row.
    problems: tuple[type[Problem], ...] = ()
    idempotent: bool = False
    # Slow work on the body, such as hashing a password: it runs before the transaction, which may hold a lock.
    prepare: Prepare | None = None
    # JSON Schemas of the path arguments whose converter has none.
    arguments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def __call__(self, **path: Any) -> Response:
        """Validate the request in a fixed order (caller, path, query, body), run the view, and return its response."""
        arguments = dict(path)
        caller = self.access.admit()
        _require_plausible(path)
        if self.access.finds_caller:
            arguments["caller"] = caller
        query = self._load_query()
        if self.query is not None:
            arguments["query"] = query
        body = self._load_body()
        if self.body is not None:
            arguments["body"] = body if self.prepare is None else self.prepare(body)
        if request.method not in SAFE_METHODS and PreconditionFailed not in self.problems:
            require_untagged()
        with transaction():
            outcome = self._run(caller, arguments, body)
        if isinstance(outcome, Problem):
            raise outcome  # after the commit, which keeps what the view has written
        return outcome

    def _run(self, caller: Caller | None, arguments: dict[str, Any], body: Mapping[str, Any]) -> Response | Problem:
        key = idempotency.requested_key() if self.idempotent else None
        if key is None or caller is None:
            return self._outcome(self.view(**arguments), caller)
        reservation = idempotency.reserve(caller, key, self.body, body)
        if isinstance(reservation, KeptAnswer):
            return _replay(reservation)
        outcome = self._outcome(self.view(**arguments), caller)
        if isinstance(outcome, Response) and outcome.status_code < 400:
            idempotency.keep(reservation, outcome)
        return outcome

    def _outcome(self, result: Any, caller: Caller | None) -> Response | Problem:
        if isinstance(result, Problem):
            return result
        if isinstance(result, Response):
            result.headers.setdefault("Cache-Control", self.answer.cache or NO_STORE)
            if result.status_code == 200 and "ETag" not in result.headers:
                require_untagged()
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
        # A PUT that has created its resource has another status than one that has replaced it.
        return _respond(content, 201 if isinstance(result, Created) else self.answer.status, headers)

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
        """The possible values of Cache-Control: one, or two if the response depends on the caller."""
        if self.answer.cache:
            return (self.answer.cache,)
        return (NO_STORE, REVALIDATE) if self.access.level == "optional" and self.answer.status != 204 else (NO_STORE,)

    def _headers(self, caller: Caller | None) -> dict[str, str]:
        if self.access.level != "optional":
            return {"Cache-Control": NO_STORE}
        # The URL has one representation with a caller and one without: a cache must not mix them up.
        return {"Cache-Control": NO_STORE if caller else REVALIDATE, "Vary": "Authorization"}

    def _load_query(self) -> dict[str, Any]:
        raw = request.environ.get("QUERY_STRING", "")
        if not raw and self.query is None:
            return {}
        # The result depends on the query string only. Long ones have a cursor, which is rarely used twice.
        load_raw = _load_cached_query if len(raw) <= CACHED_QUERY_LENGTH else _load_query_string
        return dict(load_raw(self.query or _NO_FIELDS, raw))

    def _load_body(self) -> dict[str, Any]:
        if request.method in SAFE_METHODS:
            return {}
        data = read_body()
        if not data and (self.body is None or not self.body_required):
            return {} if self.body is None else load(self.body, {})
        return load(self.body or _NO_FIELDS, parse_json(data))


_NO_FIELDS = InputSchema()


def _load_query_string(schema: Schema, raw: str) -> dict[str, Any]:
    return load(schema, parse_query(raw.encode("latin-1")))


_load_cached_query = lru_cache(maxsize=1024)(_load_query_string)


def _require_plausible(path: Mapping[str, Any]) -> None:
    """Raise NotFound if a text in the path cannot be a key of a row: PostgreSQL, for example, refuses NUL."""
    for value in path.values():
        if isinstance(value, str) and (len(value) > MAX_ARGUMENT_LENGTH or has_control_characters(value)):
            raise NotFound


def _respond(content: bytes, status: int, headers: dict[str, str]) -> Response:
    if status == 200 and request.method in SAFE_METHODS and is_not_modified(headers["ETag"]):
        return Response(status=304, headers=headers)
    return Response(content, status, headers, mimetype=JSON)


def _replay(kept: KeptAnswer) -> Response:
    headers = {
        "Cache-Control": NO_STORE,
        "Idempotency-Replayed": "true",
        "Location": kept.location,
        "ETag": kept.etag,
    }
    return Response(kept.body, kept.status, {k: v for k, v in headers.items() if v}, mimetype=JSON)
