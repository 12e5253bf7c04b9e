"""What a refusal made below the application says, and its bytes.

Owns the way from an exception of the server to a whole HTTP response. Must not import Flask: it
answers where no application runs.
"""

from __future__ import annotations

import json
from typing import Any

from gunicorn.http import errors as http
from gunicorn.util import http_date

from app.api.errors import HeadersTooLarge, InternalError, MalformedRequest, Problem, UriTooLong

# What the application did wrong: subclasses of the same errors in a request. Newer than the types.
APPLICATION_ERRORS = (
    http.InvalidResponseHeader,  # type: ignore[attr-defined]
    http.InvalidResponseHeaderName,  # type: ignore[attr-defined]
)
MALFORMED: dict[type[Exception], str] = {
    http.InvalidRequestLine: "The request line is not valid HTTP.",
    http.InvalidRequestMethod: "The method is not valid HTTP.",
    http.InvalidHTTPVersion: "Only HTTP/1.0 and HTTP/1.1 are spoken here.",
    http.InvalidHeader: "A header field is not valid HTTP, or contradicts another.",
    http.InvalidHeaderName: "A header field's name is not valid HTTP.",
    http.ObsoleteFolding: "A header field is folded over several lines.",
    http.ExpectationFailed: "The only expectation met here is 100-continue.",
    http.UnsupportedTransferCoding: "The only transfer coding taken here is chunked.",
    http.InvalidChunkSize: "A chunk's size is not valid HTTP.",
    http.InvalidChunkExtension: "A chunk's extension is not valid HTTP.",
    http.ChunkMissingTerminator: "The chunked body does not end as HTTP says.",
    # NoMoreData, and a connection that was reset.
    OSError: "The body ended before it was complete.",
}


def problem_of(error: Exception) -> Problem:
    """Return the problem that tells a client about an error in reading his request."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, http.LimitRequestLine):
        return UriTooLong()
    if isinstance(error, http.LimitRequestHeaders):
        return HeadersTooLarge()
    if isinstance(error, APPLICATION_ERRORS):
        return InternalError()
    for kind, detail in MALFORMED.items():
        if isinstance(error, kind):
            return MalformedRequest(detail)
    return InternalError()


class Refused(Exception):
    """A request ended before the application saw it; `head` is what had arrived of it."""

    def __init__(self, error: Exception, head: bytes) -> None:
        self.problem = problem_of(error)
        self.head = head
        super().__init__(type(error).__name__)


def fields_of(head: bytes) -> dict[str, str]:
    """Return the header fields of a refused request that are sure, names in lower case.

    A field that came twice, or whose line is not complete, is left out.
    """
    fields: dict[str, str] = {}
    repeated = set()
    for line in head.split(b"\r\n\r\n")[0].split(b"\r\n")[1 : None if b"\r\n\r\n" in head else -1]:
        name, _, value = line.decode("latin-1").partition(":")
        repeated.update({name.lower()} & fields.keys())
        fields[name.lower()] = value.strip(" \t")
    return {name: value for name, value in fields.items() if name not in repeated}


def refusal(
    document: dict[str, Any], headers: dict[str, str], *, with_body: bool = True, is_kept: bool = False
) -> bytes:
    """Return the whole response that tells a client of a problem, and whether the connection is kept."""
    body = json.dumps(document, ensure_ascii=False).encode()
    lines = [
        f"HTTP/1.1 {document['status']} {document['title']}",
        "Server: gatepost",
        f"Date: {http_date()}",
        f"Connection: {'keep-alive' if is_kept else 'close'}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        f"X-Request-ID: {document['request_id']}",
        *(f"{name}: {value}" for name, value in headers.items()),
        "\r\n",
    ]
    return "\r\n".join(lines).encode("latin-1") + (body if with_body else b"")
