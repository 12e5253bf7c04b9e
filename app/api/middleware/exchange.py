"""The body of a response on its way to the client, after which the request is counted and logged."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from app.observability import instrumentation, logs, metrics
from app.observability.instrumentation import RespondedRequest, Statements


class Exchange:
    """One request and its response. The server iterates over the body and then closes it (PEP 3333).

    Metrics and log entry are written when it is closed, because a streamed body takes time and runs statements. Servers
    also close a body when the client has disconnected.
    """

    def __init__(self) -> None:
        self.response: RespondedRequest | None = None
        self.chunks: Iterable[bytes] = ()
        self._started = time.perf_counter()
        self._bytes_out = 0
        self._is_complete = self._is_closed = False
        self._statements = Statements()
        instrumentation.current.statements = self._statements
        metrics.IN_FLIGHT.inc()

    def __iter__(self) -> Iterator[bytes]:
        iterator = iter(self.chunks)
        while True:
            # The thread may have worked for another request between two chunks.
            instrumentation.current.statements = self._statements
            chunk = next(iterator, None)
            if chunk is None:
                break
            self._bytes_out += len(chunk)
            yield chunk
        self._is_complete = True

    def close(self) -> None:
        """Close the body, then count and log the response."""
        if self._is_closed:
            return
        self._is_closed = True
        try:
            if close := getattr(self.chunks, "close", None):
                close()
        finally:
            metrics.IN_FLIGHT.dec()
            if self.response is not None:
                self._report(self.response)

    def _report(self, response: RespondedRequest) -> None:
        response.seconds = time.perf_counter() - self._started
        response.bytes_out, response.is_complete = self._bytes_out, self._is_complete
        response.statements = self._statements
        instrumentation.count(response)
        logs.write_request(response)
