"""Sends the head of an answer together with the first bytes of its body.

gunicorn sends them one after the other. Between the two, a busy process waits for the interpreter; one that is frozen
or killed there has told nginx the status of an answer that never comes, so nginx can only cut the client off. And each
call costs time.
"""

from __future__ import annotations

from gunicorn.http import wsgi


def take_over() -> None:
    """Have gunicorn use this, and the service's own name: it has a setting for neither."""
    wsgi.SERVER = wsgi.SERVER_SOFTWARE = "gatepost"  # type: ignore[attr-defined]
    wsgi.Response = WholeResponse  # type: ignore[misc]


class Gathered:
    """Stands in for the socket while an answer begins."""

    def __init__(self) -> None:
        self.data = bytearray()

    def sendall(self, data: bytes) -> None:
        """Keep what is to be sent."""
        self.data += data


class WholeResponse(wsgi.Response):
    """gunicorn's response, which begins with one call of send()."""

    def write(self, arg: bytes) -> None:
        if self.headers_sent:
            super().write(arg)
            return
        sock, gathered = self.sock, Gathered()
        self.sock = gathered  # type: ignore[assignment]
        try:
            super().write(arg)
        finally:
            self.sock = sock
        sock.sendall(gathered.data)
