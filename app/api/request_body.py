"""Reads the body of a request, checks its media type, content coding and size, and validates it by a schema."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import request
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.http import parse_options_header

from app.api.errors import MalformedRequest, PayloadTooLarge, UnsupportedMediaType, ValidationFailed

JSON = "application/json"


def read_body() -> bytes:
    """Return the bytes of the request's body, b"" if it has none.

    Raises UnsupportedMediaType for a body that is not JSON or is compressed, PayloadTooLarge for one that is larger
    than MAX_BODY_BYTES, without reading it to the end, and MalformedRequest for one that is shorter than its
    Content-Length.
    """
    length = request.content_length
    transfer_coding = request.environ.get("HTTP_TRANSFER_ENCODING")
    if not length and transfer_coding is None:
        return b""
    # gunicorn accepts "gzip, chunked" too, and hands on the compressed bytes.
    if transfer_coding is not None and transfer_coding.strip().lower() != "chunked":
        raise MalformedRequest("The only transfer coding that is accepted is chunked.")
    if not _is_json(request.environ.get("CONTENT_TYPE", "")) or _is_coded():
        if length or _read_chunked():
            raise UnsupportedMediaType
        return b""
    if length is None:
        return _read_chunked()
    data = _read(request.get_data)
    if len(data) != length:
        raise MalformedRequest("The body is shorter than its Content-Length.")
    return data


def _read_chunked() -> bytes:
    """Read a body without Content-Length. Werkzeug truncates it at the limit and reports no error."""
    data = _read(request.get_data)
    limit = request.max_content_length
    if limit is not None and len(data) >= limit and _read(_read_one_more):
        raise PayloadTooLarge
    return data


def _read_one_more() -> bytes:
    data: bytes = request.environ["wsgi.input"].read(1)
    return data


def _read(read: Callable[[], bytes]) -> bytes:
    try:
        return read()
    except HTTPException:
        raise
    except Exception as error:
        # Each WSGI server raises exceptions of its own for chunks that RFC 9112 section 7.1 does not allow.
        raise MalformedRequest("The body could not be read.") from error


def _is_json(content_type: str) -> bool:
    if content_type == JSON:
        return True
    media_type, options = parse_options_header(content_type)
    return media_type.lower() == JSON and options.get("charset", "utf-8").lower() in ("utf-8", "utf8")


def _is_coded() -> bool:
    return request.environ.get("HTTP_CONTENT_ENCODING", "identity").lower() not in ("", "identity")


def load(schema: Schema, data: Any) -> dict[str, Any]:
    """Return `data` deserialized by the schema. Raises ValidationFailed with the messages of all invalid fields."""
    try:
        loaded: dict[str, Any] = schema.load(data)
    except ValidationError as error:
        messages = error.messages if isinstance(error.messages, dict) else {"_schema": error.messages}
        # The traceback references Marshmallow's frames, which reference the error and the data. This cycle would keep a
        # body of a megabyte in memory until the next garbage collection.
        raise ValidationFailed(messages) from error.with_traceback(None)
    return loaded
