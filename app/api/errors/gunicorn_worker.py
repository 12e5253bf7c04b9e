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


class ProblemWorker(ThreadWorker):
    """Answers what gunicorn refuses before the application sees it, and what escaped from the application."""

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: BaseException) -> None:
        """Write the problem document of an error to a connection that gunicorn then closes."""
        problem = find_problem(exc)
        log = self.log.exception if isinstance(problem, InternalError) else self.log.info
        log("Request refused by the server: %s", type(exc).__name__)
        document = problem_document(problem, uuid.uuid4().hex)
        body = json.dumps(document).encode()
        head = (
            f"HTTP/1.1 {document['status']} {document['title']}\r\nConnection: close\r\nCache-Control: no-store\r\n"
            f"Content-Type: application/problem+json\r\nContent-Length: {len(body)}\r\n"
            f"X-Content-Type-Options: nosniff\r\nX-Request-ID: {document['request_id']}\r\n\r\n"
        )
        with contextlib.suppress(OSError):
            client.sendall(head.encode() + body)


def find_problem(error: BaseException) -> Problem:
    """Return the problem for an error of gunicorn's parser: any that is not about the request is internal."""
    if isinstance(error, http.LimitRequestLine):
        return UriTooLong()
    if isinstance(error, http.LimitRequestHeaders):
        return HeadersTooLarge()
    return MalformedRequest() if isinstance(error, http.ParseException) else InternalError()
