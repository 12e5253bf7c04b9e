"""Entity tags and conditional requests (RFC 9110 sections 8.8.3 and 13).

A tag is a hash of the response body, so that it changes exactly when the body does.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from flask import Response, request
from marshmallow import Schema

from app.api.errors import PreconditionFailed
from app.api.serialization import dump_bytes

DIGEST_BYTES = 15
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def etag_of(body: bytes, *, weak: bool = False) -> str:
    """Return the entity tag of a response body, quoted as in the ETag header."""
    tag = hashlib.blake2b(body, digest_size=DIGEST_BYTES).hexdigest()
    return f'W/"{tag}"' if weak else f'"{tag}"'


def is_not_modified(etag: str) -> bool:
    """Return whether If-None-Match has this tag, which may be weak: the response to a read is then 304.

    If-Match is evaluated first (RFC 9110 section 13.2.2). Raises PreconditionFailed if it does not have this tag, which
    must not be weak there, and is not `*`.
    """
    if_match = request.environ.get("HTTP_IF_MATCH")
    if if_match is not None and not _matches(if_match, etag, weak=False):
        raise PreconditionFailed
    header = request.environ.get("HTTP_IF_NONE_MATCH")
    return header is not None and _matches(header, etag.removeprefix("W/"), weak=True)


def respond_with_tag(
    content: bytes, etag: str, media_type: str = "application/json", headers: Mapping[str, str] | None = None
) -> Response:
    """Return a response to a read with its entity tag, a 304 if the client's copy is current.

    Raises PreconditionFailed if If-Match does not hold.
    """
    tagged = {"ETag": etag, **(headers or {})}
    if is_not_modified(etag):
        return Response(status=304, headers=tagged)
    return Response(content, headers=tagged, mimetype=media_type)


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    tags = _TAG.findall(header)
    return any((weak or not mark) and f'"{tag}"' == etag for mark, tag in tags)


def require_unchanged(value: Any, schema: Schema) -> None:
    """Raise PreconditionFailed if If-Match or If-None-Match does not hold; call it after the row is locked.

    `value` and `schema` give the response that the caller would get by reading the resource now.
    """
    # Without a precondition the resource need not be serialized.
    has_condition = "HTTP_IF_MATCH" in request.environ or "HTTP_IF_NONE_MATCH" in request.environ
    if has_condition and is_not_modified(etag_of(dump_bytes(value, schema))):
        raise PreconditionFailed


def require_creatable() -> None:
    """Raise PreconditionFailed if the request has If-Match, which nothing matches: the resource does not exist.

    Call it before a PUT creates its resource. If-None-Match holds (RFC 9110 sections 13.1.1 and 13.1.2).
    """
    if "HTTP_IF_MATCH" in request.environ:
        raise PreconditionFailed


def require_untagged() -> None:
    """Raise PreconditionFailed if If-Match has a tag, for a resource without one: only '*' holds for it."""
    if request.environ.get("HTTP_IF_MATCH", "*").strip() != "*":
        raise PreconditionFailed
