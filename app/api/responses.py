"""What an endpoint can answer: the declared response, and the objects that a view returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Response
from marshmallow import Schema

from app.api.request_body import JSON

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


def empty() -> Response:
    """Return a 204."""
    response = Response(status=204, headers={"Cache-Control": NO_STORE})
    # Werkzeug's default, text/html, would describe a body that is not there.
    del response.headers["Content-Type"]
    return response
