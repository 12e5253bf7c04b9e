"""The responses that endpoints declare (`Answer`), and the objects that views return."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypedDict, Unpack

from flask import Response
from marshmallow import Schema

from app.api.request_body import JSON

NO_STORE = "no-store"
REVALIDATE = "no-cache"


@dataclass(frozen=True, slots=True)
class Answer:
    """The successful response of an endpoint. With several schemas, the one that applies depends on the caller."""

    status: int
    schemas: tuple[Schema, ...] = ()
    is_list: bool = False
    is_created: bool = False
    describes: str = ""
    media_type: str = JSON
    # Whether responses to reads and creations have an ETag, which is that of the resource.
    is_tagged: bool = True
    # Other media types that the view may return, depending on the Accept header.
    others: tuple[str, ...] = ()
    # The Cache-Control of the response; "" derives it from the access policy.
    cache: str = ""
    # Other statuses with the same body, and additional headers with their descriptions.
    also: tuple[int, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    # The body of a 202, which the view makes itself: the request has taken effect, and the rest of its work is left.
    unfinished: Schema | None = None

    def has_etag(self, method: str) -> bool:
        """Return whether responses to this method have an ETag; those to POST only if they show the new resource."""
        return self.is_tagged and self.status != 204 and (method != "POST" or self.is_created)


class Options(TypedDict, total=False):
    """The fields of an Answer that a view can set in addition to what its kind of response determines."""

    describes: str
    media_type: str
    others: tuple[str, ...]
    also: tuple[int, ...]
    headers: Mapping[str, str]
    unfinished: Schema | None


def ok(*schemas: Schema, **options: Unpack[Options]) -> Answer:
    """200 with one object and a strong ETag."""
    return Answer(200, schemas, **options)


def listing(*schemas: Schema, **options: Unpack[Options]) -> Answer:
    """200 with a page of a list, a weak ETag and the Link header."""
    return Answer(200, schemas, is_list=True, **options)


def created(*schemas: Schema, is_tagged: bool = True, **options: Unpack[Options]) -> Answer:
    """201 with the new object, its Location and its ETag; without ETag if the body has more than the object.

    The ETag of a 201 is that of the resource at Location (RFC 9110 section 15.3.2).
    """
    return Answer(201, schemas, is_created=True, is_tagged=is_tagged, **options)


def written(*schemas: Schema, cache: str = NO_STORE, is_tagged: bool = False, **options: Unpack[Options]) -> Answer:
    """200, or one of the statuses `also`, with a response object that the view makes itself."""
    return Answer(200, schemas, cache=cache, is_tagged=is_tagged, **options)


def no_content(**options: Unpack[Options]) -> Answer:
    """204 without a body."""
    return Answer(204, **options)


@dataclass(frozen=True, slots=True)
class Shaped:
    """A value and the schema to serialize it by, for an endpoint that declares several."""

    value: Any
    schema: Schema


@dataclass(frozen=True, slots=True)
class Created:
    """A new resource and its URL. A PUT that can create its resource declares `ok(…, also=(201,))`."""

    value: Any
    location: str


def empty() -> Response:
    """Return a 204 response."""
    response = Response(status=204, headers={"Cache-Control": NO_STORE})
    # Werkzeug sets text/html by default, but there is no body.
    del response.headers["Content-Type"]
    return response
