"""Sends the head of an answer together with the first bytes of its body, and writes it in less time.

gunicorn sends them one after the other. Between the two, a busy process waits for the interpreter; one that is frozen
or killed there has told nginx the status of an answer that never comes, so nginx can only cut the client off. And each
call costs time.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from gunicorn import util
from gunicorn.config import Config
from gunicorn.http import wsgi
from gunicorn.http.message import TOKEN_RE

# What may be in the values of a head (RFC 9110 section 5.5), a line for each.
_VALUES = re.compile(r"[\t\x20-\x7e\x80-\xff\n]*")
_BLANK = frozenset({" ", "\t"})


def take_over(cfg: Config) -> None:
    """Have gunicorn use this, and the service's own name: it has a setting for neither."""
    wsgi.SERVER = wsgi.SERVER_SOFTWARE = "gatepost"  # type: ignore[attr-defined]
    wsgi.Response = WholeResponse  # type: ignore[misc]
    if cfg.errorlog == "-":
        # The same for every request, and made anew for each, down to the logger that it looks up. A file may be
        # opened anew, at SIGUSR1.
        environ = dict(wsgi.base_environ(cfg))
        wsgi.base_environ = lambda cfg: dict(environ)


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return util.http_date(second)


@lru_cache(maxsize=256)
def _is_plain(name: str) -> bool:
    """Whether a header of this name is sent as it is."""
    return (
        TOKEN_RE.fullmatch(name) is not None
        and name.lower() not in ("content-length", "upgrade")
        and not util.is_hoppish(name)
    )


class Gathered:
    """Stands in for the socket while an answer begins."""

    def __init__(self) -> None:
        self.data = bytearray()

    def sendall(self, data: bytes) -> None:
        """Keep what is to be sent."""
        self.data += data


class WholeResponse(wsgi.Response):
    """gunicorn's response, which begins with one call of send()."""

    headers: list[tuple[str, str]]

    def process_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Take the headers over. Raises, as gunicorn does, for those that are not valid HTTP.

        gunicorn looks at each value by itself, and at each name in three ways, for a fifth of what a small answer
        costs it. Names come again and again, and one look tells that all values are as they should be.
        """
        given: list[Any] = list(headers)
        values = "\n".join([value for _, value in given])
        if values.count("\n") >= len(given) or not _VALUES.fullmatch(values):
            return super().process_headers(given)
        for header in given:
            name, value = header
            if not _is_plain(name) or value[:1] in _BLANK or value[-1:] in _BLANK:
                super().process_headers([header])
            else:
                self.headers.append(header)
        return None

    def default_headers(self) -> list[str]:
        if self.upgrade:
            return super().default_headers()
        lines = [
            f"HTTP/{'.'.join(map(str, self.req.version or (1, 1)))} {self.status}\r\n",
            f"Server: {self.version}\r\n",
            f"Date: {_date(int(time.time()))}\r\n",
            f"Connection: {'close' if self.should_close() else 'keep-alive'}\r\n",
        ]
        return [*lines, "Transfer-Encoding: chunked\r\n"] if self.chunked else lines

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
