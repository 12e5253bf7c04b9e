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
    """Return whether the response to a read is 304: If-None-Match has this tag, which may be weak.

    If-Match is evaluated first (RFC 9110 section 13.2.2), and a weak tag never matches it. Raises PreconditionFailed.
    """
    require_if_match(etag)
    return is_unchanged(etag)


def is_unchanged(etag: str) -> bool:
    """Return whether If-None-Match has this tag: the client's copy is current (weak comparison)."""
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


def require_match(etag: str) -> None:
    """Raise PreconditionFailed if If-Match or If-None-Match does not hold for the resource that is to be changed.

    `etag` is that of the response the caller would get by reading the resource in this transaction.
    """
    require_if_match(etag)
    if is_unchanged(etag):
        raise PreconditionFailed


def require_if_match(etag: str) -> None:
    """Raise PreconditionFailed if If-Match does not have this tag (strong comparison) and is not `*`."""
    if_match = request.environ.get("HTTP_IF_MATCH")
    if if_match is not None and not _matches(if_match, etag, weak=False):
        raise PreconditionFailed


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
    if "HTTP_IF_MATCH" in request.environ or "HTTP_IF_NONE_MATCH" in request.environ:
        require_match(etag_of(dump_bytes(value, schema)))


def require_untagged() -> None:
    """Raise PreconditionFailed if If-Match has a tag, for a resource without one: only '*' holds for it."""
    if request.environ.get("HTTP_IF_MATCH", "*").strip() != "*":
        raise PreconditionFailed
