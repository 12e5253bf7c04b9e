"""Entity tags and the conditional requests made with them (RFC 9110 section 13).

A tag is a hash of the very bytes of the answer, so that it changes exactly when a client would see a change.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

from flask import request
from marshmallow import Schema

from app.api.errors import PreconditionFailed
from app.api.serialization import dump_bytes

DIGEST_BYTES = 15
_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')


def etag_of(body: bytes, *, weak: bool = False) -> str:
    """Return the entity tag of an answer's bytes, quoted as the header has it."""
    tag = hashlib.blake2b(body, digest_size=DIGEST_BYTES).hexdigest()
    return f'W/"{tag}"' if weak else f'"{tag}"'


def is_unchanged(etag: str) -> bool:
    """Whether If-None-Match says that the client holds this representation (weak comparison)."""
    header = request.environ.get("HTTP_IF_NONE_MATCH")
    return header is not None and _matches(header, etag.removeprefix("W/"), weak=True)


def require_match(etag: str) -> None:
    """Hold a write to its preconditions; raises PreconditionFailed when the resource is not as they say.

    `etag` is that of the resource as the caller would read it, in the transaction that writes.
    """
    if_match = request.environ.get("HTTP_IF_MATCH")
    if if_match is not None and not _matches(if_match, etag, weak=False):
        raise PreconditionFailed
    if is_unchanged(etag):
        raise PreconditionFailed


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    if header.strip() == "*":
        return True
    tags = _TAG.findall(header)
    return any((weak or not mark) and f'"{tag}"' == etag for mark, tag in tags)


def has_preconditions() -> bool:
    """Whether the request asks for a comparison at all, which costs the writing route a representation."""
    headers: dict[str, Any] = request.environ
    return "HTTP_IF_MATCH" in headers or "HTTP_IF_NONE_MATCH" in headers


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
