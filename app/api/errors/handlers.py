"""Flask error handlers: they turn every exception of a request into a problem response."""

from __future__ import annotations

import json
import logging

import orjson
from flask import Flask, Response, g, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from app.api.errors import (
    DatabaseUnavailable,
    InternalError,
    MalformedRequest,
    MethodNotAllowed,
    NotAcceptable,
    NotFound,
    PayloadTooLarge,
    Problem,
    UnsupportedMediaType,
    UriTooLong,
    problem_document,
)
from app.database.errors import describe_fault, is_unavailable

log = logging.getLogger("gatepost.errors")
PROBLEM_JSON = "application/problem+json"
_BY_STATUS: dict[int, type[Problem]] = {
    404: NotFound,
    406: NotAcceptable,
    413: PayloadTooLarge,
    414: UriTooLong,
    415: UnsupportedMediaType,
}


def init_app(app: Flask) -> None:
    """Register the error handlers: for problems, Werkzeug's HTTP errors, database errors and all other exceptions."""
    app.register_error_handler(Problem, respond)
    app.register_error_handler(HTTPException, _respond_to_werkzeug)
    app.register_error_handler(SQLAlchemyError, _respond_to_database)
    app.register_error_handler(Exception, _respond_to_bug)


def respond(problem: Problem) -> Response:
    """Return the response for a problem (RFC 9457), and note its code for the metrics and the log."""
    g.problem = problem.code
    prefix = g.get("service_prefix", "")
    document = problem_document(problem, g.request_id, prefix)
    headers = {"Cache-Control": "no-store", **problem.headers()}
    return Response(_dump(document), problem.status, headers, mimetype=PROBLEM_JSON)


def _dump(document: dict[str, object]) -> bytes:
    try:
        return orjson.dumps(document)
    except TypeError:
        # A field name as sent may contain a lone surrogate. UTF-8 cannot encode it, a JSON escape can.
        return json.dumps(document).encode("ascii")


def _respond_to_werkzeug(error: HTTPException) -> Response:
    status = error.code or 500
    if status == 405:
        allowed = sorted(getattr(error, "valid_methods", None) or [])
        return respond(MethodNotAllowed(", ".join(allowed)))
    return respond(_BY_STATUS.get(status, MalformedRequest if status < 500 else InternalError)())


def _respond_to_database(error: SQLAlchemyError) -> Response:
    if not is_unavailable(error):
        return _respond_to_bug(error)
    # Without the stack trace, which every request would log during an outage. Without the driver's message, which may
    # contain values of rows; the exception class, the SQLSTATE and the reason identify the cause.
    cause = getattr(error, "orig", None) or error
    log.warning(
        "database unavailable",
        extra={
            "cause": type(cause).__name__,
            "sqlstate": getattr(cause, "pgcode", None),
            "sqlite_error": getattr(cause, "sqlite_errorname", None),
            # What an operator must correct.
            "reason": describe_fault(error),
        },
    )
    return respond(DatabaseUnavailable())


def _respond_to_bug(error: Exception) -> Response:
    log.error("unhandled exception at %s %s", request.method, request.url_rule, exc_info=error)
    return respond(InternalError())
