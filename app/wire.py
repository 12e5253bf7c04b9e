"""Reads requests off a socket, strictly and within deadlines.

Owns the bytes between client and WSGI. Must not import Flask: the arbiter loads it first.
"""

from __future__ import annotations

import os
import select
import socket
import time
from typing import Any, ClassVar, cast

from gunicorn.http import errors as http
from gunicorn.http.body import Body, ChunkedReader, LengthReader
from gunicorn.http.message import Request
from gunicorn.http.parser import RequestParser
from gunicorn.http.unreader import SocketUnreader

from app.api.errors import PayloadTooLarge, Problem, RequestTimeout
from app.refusals import Refused, problem_of

# Well over what 100 header fields of a browser need; gunicorn's own bound would be 800 kB.
MAX_HEAD_BYTES = 65_536
MAX_READ_BYTES = 1_048_576
# Each costs the parser microseconds however little is in it: a mebibyte byte by byte would keep a worker for seconds.
MAX_CHUNKS = 16_384
END_OF_HEAD = b"\r\n\r\n"


class DeadlineUnreader(SocketUnreader):
    """Reads from the socket for as long as a request may take, and keeps the head for a refusal."""

    # A request is small, so a client that needs longer is stalled, or attacks (slowloris).
    head_seconds: ClassVar[float] = 15.0
    body_seconds: ClassVar[float] = 60.0
    idle_seconds: ClassVar[float] = 15.0

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock)
        self.head: bytearray | None = None
        self.deadline = 0.0
        self.may_wait = True
        # Whether the client will send no more.
        self.is_at_end = False
        # When the first bytes of a request came, while the rest of it is awaited.
        self.began = 0.0

    def begin_head(self) -> None:
        """Start the clock of a new request, of which the buffer may hold the beginning."""
        self.head = bytearray(self.buf.getvalue())
        self.began = 0.0
        self.deadline = time.monotonic() + self.head_seconds

    def begin_body(self) -> None:
        """Let the head go, and give the body its time."""
        self.head = None
        self.deadline = time.monotonic() + self.body_seconds

    def chunk(self, size_hint: int | None = None) -> bytes:
        size = min(max(size_hint or 0, self.mxchunk), MAX_READ_BYTES)
        if self.head is not None and len(self.head) > MAX_HEAD_BYTES:
            raise http.LimitRequestHeaders("total")
        while True:
            # Most bytes are there already: asking first would cost each read a second system call.
            try:
                data: bytes = self.sock.recv(size, socket.MSG_DONTWAIT)
            except BlockingIOError:
                self._wait()
                continue
            if self.head is not None:
                self.head += data
            return data

    def _wait(self) -> None:
        seconds = min(self.deadline - time.monotonic(), self.idle_seconds)
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        if not self.may_wait or seconds <= 0 or not poll.poll(seconds * 1000):
            raise RequestTimeout

    def read_arrived(self) -> bytes:
        """Take in what has arrived, for the parser to find, without waiting; return all that is here.

        Raises OSError when nothing is, and nothing will be.
        """
        try:
            data = self.sock.recv(MAX_HEAD_BYTES, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return self.buf.getvalue()
        self.is_at_end = not data
        self.buf.seek(0, os.SEEK_END)
        self.buf.write(data)
        if not self.buf.tell():
            raise ConnectionResetError
        return self.buf.getvalue()

    def rest_is_due(self) -> float:
        """Return by when more must have come of a request whose first bytes are here (by the monotonic clock)."""
        now = time.monotonic()
        self.began = self.began or now
        is_in_body = END_OF_HEAD in self.buf.getvalue()
        return min(now + self.idle_seconds, self.began + (self.body_seconds if is_in_body else self.head_seconds))

    def read_rest_of_head(self, seconds: float = 0.5) -> bytes:
        """Return the head with what else of it comes within `seconds`: Origin comes late in it."""
        self.deadline = min(self.deadline, time.monotonic() + seconds)
        try:
            while self.head is not None and END_OF_HEAD not in self.head and self.chunk():
                pass
        except (OSError, Problem, http.ParseException):
            pass  # What came until now will have to do.
        return bytes(self.head or b"")


class BoundedChunkedReader(ChunkedReader):
    """A chunked body of so many chunks at most. Raises PayloadTooLarge."""

    chunks = 0

    def parse_chunk_size(self, unreader: Any, data: bytes | None = None) -> tuple[int, bytes | None]:
        self.chunks += 1
        if self.chunks > MAX_CHUNKS:
            raise PayloadTooLarge
        parsed: tuple[int, bytes | None] = super().parse_chunk_size(unreader, data)
        return parsed


class CheckedReader:
    """A body's reader that lets no cut, garbled or stalled body pass for a whole one.

    `read` raises a Problem, so that an application's own error handler answers it like any other.
    """

    def __init__(self, request: StrictRequest, reader: Any) -> None:
        self.request = request
        self.reader = reader

    def read(self, size: int) -> bytes:
        """Return up to `size` bytes of the body, b"" at its end."""
        expected = min(size, getattr(self.reader, "length", 0))
        try:
            data: bytes = self.reader.read(size)
            if len(data) < expected:
                raise http.NoMoreData
        except (http.ParseException, OSError) as error:
            # Where the next request would start is unknown: the answer must say "close".
            self.request.force_close()
            raise problem_of(error) from error
        except Problem:
            self.request.force_close()
            raise
        return data


class StrictRequest(Request):
    """A request held to RFC 9112 in the points where gunicorn is lenient."""

    body: Any

    def _peer_is_trusted_proxy(self) -> bool:
        # Nobody is, for this server: the application's ProxyFix looks at forwarding headers. Else it would compare
        # each caller's address with an empty list.
        return False

    def set_body_reader(self) -> None:
        names = set()
        for name, value in self.headers:
            names.add(name)
            # gunicorn takes "gzip, chunked", and hands the application the compressed bytes.
            if name == "TRANSFER-ENCODING" and value.lower() != "chunked":
                raise http.UnsupportedTransferCoding(value)
        # RFC 9112 section 3.2.
        if "HOST" not in names and self.version != (1, 0):
            raise http.InvalidHeader("HOST", req=self)
        super().set_body_reader()
        reader = self.body.reader
        if isinstance(reader, ChunkedReader):
            reader = BoundedChunkedReader(self, self.unreader)
        if not isinstance(reader, LengthReader) or reader.length:
            self.body = Body(CheckedReader(self, reader))  # type: ignore[arg-type]

    def discard_arrived_body(self) -> bool:
        """Drop the body if all of it has arrived; return whether the next request may follow."""
        reader = self.body.reader
        if isinstance(reader, CheckedReader):
            reader = reader.reader
        length = getattr(reader, "length", None)
        if length is None or length > len(self.unreader.buf.getvalue()):
            return False
        self.body.read()
        return True


class StrictParser(RequestParser):
    """The parser of one connection. Raises Refused for bytes that are no request."""

    mesg_class = StrictRequest

    def __init__(self, cfg: Any, sock: socket.socket, address: Any) -> None:
        super().__init__(cfg, sock, address)
        self.unreader: DeadlineUnreader = DeadlineUnreader(sock)

    def finish_body(self, deadline: float | None = None, max_bytes: int | None = None) -> bool:  # type: ignore[override]
        """Read what the application left of a body; return whether it ended, so that another request may follow.

        gunicorn sets the socket's timeout for that, and back again, also where nothing is left: two system calls.
        """
        body: Any = getattr(self.mesg, "body", None)
        reader = getattr(body, "reader", None)
        reader = reader.reader if isinstance(reader, CheckedReader) else reader
        if isinstance(reader, LengthReader) and not reader.length and not body.failed:
            return True
        return bool(super().finish_body(deadline, max_bytes))

    def __next__(self) -> Request:
        self.unreader.begin_head()
        try:
            self._check_length()
            request = super().__next__()
        except (http.LimitRequestLine, http.LimitRequestHeaders) as error:
            raise Refused(error, self.unreader.read_rest_of_head()) from error
        except (http.ParseException, Problem) as error:
            raise Refused(error, bytes(self.unreader.head or b"")) from error
        self.unreader.begin_body()
        return request

    def _check_length(self) -> None:
        """Raise LimitRequestHeaders for too long a head that is here whole, so that no read will find it too long."""
        head = self.unreader.head or b""
        if len(head) > MAX_HEAD_BYTES and head.find(END_OF_HEAD, 0, MAX_HEAD_BYTES + len(END_OF_HEAD)) < 0:
            raise http.LimitRequestHeaders("total")

    def parse_arrived(self) -> StrictRequest:
        """Return the next request without waiting. Raises OSError when the client has gone.

        A head that is not whole is Refused, as a RequestTimeout.
        """
        self.unreader.may_wait = False
        try:
            return cast("StrictRequest", next(self))
        except StopIteration:
            raise ConnectionResetError from None
        finally:
            self.unreader.may_wait = True
