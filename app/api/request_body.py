"""The body of a request: whether it is one we take, and all of its bytes.

Owns media types, codings and sizes. What the bytes mean is app/api/json_parser.py's.
"""

from __future__ import annotations

from typing import Any

from flask import request
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_options_header

from app.api.errors import MalformedRequest, PayloadTooLarge, UnsupportedMediaType, ValidationFailed

JSON = "application/json"


def read_body() -> bytes:
    """Return the bytes of the request's body, b"" when it has none.

    Raises UnsupportedMediaType for a body that is not plain JSON, PayloadTooLarge before reading through one over
    MAX_BODY_BYTES, MalformedRequest for one that breaks off before its Content-Length.
    """
    length = request.content_length
    if not length and "HTTP_TRANSFER_ENCODING" not in request.environ:
        return b""
    if not _is_json(request.environ.get("CONTENT_TYPE", "")) or _is_coded():
        if length or _read_chunked():
            raise UnsupportedMediaType
        return b""
    if length is None:
        return _read_chunked()
    data = request.get_data()
    if len(data) != length:
        raise MalformedRequest("The body is shorter than its Content-Length.")
    return data


def _read_chunked() -> bytes:
    """A body of unknown size, which Werkzeug cuts at the limit without a word."""
    limit = request.max_content_length
    try:
        data = request.get_data()
        is_too_large = limit is not None and len(data) >= limit and bool(request.environ["wsgi.input"].read(1))
    except HTTPException:
        raise
    except Exception as error:
        # A server raises an exception of its own for a chunk that RFC 9112 section 7.1 does not allow.
        raise MalformedRequest("The chunks of the body are not valid.") from error
    if is_too_large:
        raise PayloadTooLarge
    return data


def _is_json(content_type: str) -> bool:
    if content_type == JSON:
        return True
    media_type, options = parse_options_header(content_type)
    return media_type.lower() == JSON and options.get("charset", "utf-8").lower() in ("utf-8", "utf8")


def _is_coded() -> bool:
    return request.environ.get("HTTP_CONTENT_ENCODING", "identity").lower() not in ("", "identity")


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
