"""gunicorn's threaded worker with problem documents (RFC 9457) in place of gunicorn's HTML error pages."""

from __future__ import annotations

import contextlib
import json
import socket
import uuid
from typing import Any

from gunicorn.http import errors as http
from gunicorn.workers.gthread import ThreadWorker

from app.api.errors import HeadersTooLarge, InternalError, MalformedRequest, Problem, UriTooLong, problem_document
from app.api.middleware.headers import SECURITY_HEADERS


class ProblemWorker(ThreadWorker):
    """gunicorn's threaded worker; its error responses, for invalid HTTP for example, are problem documents."""

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Write the problem document of an error to a connection that gunicorn then closes."""
        problem = find_problem(exc)
        log = self.log.exception if isinstance(problem, InternalError) else self.log.info
        log("Request refused by the server: %s", type(exc).__name__)
        document = problem_document(problem, uuid.uuid4().hex)
        body = json.dumps(document).encode()
        headers = {
            "Connection": "close",
            "Cache-Control": "no-store",
            "Content-Type": "application/problem+json",
            "Content-Length": str(len(body)),
            "X-Request-ID": document["request_id"],
            "Vary": "Origin",
            **problem.headers(),
            **SECURITY_HEADERS,
        }
        lines = [f"HTTP/1.1 {problem.status} {problem.title}", *(f"{name}: {value}" for name, value in headers.items())]
        with contextlib.suppress(OSError):
            client.sendall("\r\n".join([*lines, "", ""]).encode() + body)


def find_problem(error: BaseException) -> Problem:
    """Return the problem for an exception that gunicorn has caught."""
    if isinstance(error, http.LimitRequestLine):
        return UriTooLong()
    if isinstance(error, http.LimitRequestHeaders):
        return HeadersTooLarge()
    return MalformedRequest() if isinstance(error, http.ParseException) else InternalError()
