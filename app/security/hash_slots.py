"""Hash slots: limits how many threads of a process hash passwords, and how many requests wait for one of them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from threading import BoundedSemaphore
from typing import TypeVar

from app.api.errors import Overloaded
from app.observability import metrics

T = TypeVar("T")


class HashSlots:
    """A thread pool for Argon2 with a bounded queue; every thread of the pool is one slot.

    A hash takes about 20 ms of CPU without the GIL. It runs in threads of its own because glibc keeps the 19 MiB of a
    hash in the arena of each thread that has computed one: a process of 8 request threads measured 166 MiB when they
    hashed themselves, and 33 MiB with one slot.
    """

    def __init__(self, slots: int, max_requests: int, max_wait_seconds: float) -> None:
        self._slots = slots
        self._max_requests = max_requests
        self._max_wait_seconds = max_wait_seconds
        self.restart()

    def restart(self) -> None:
        """Start with no thread and no request. A forked process must call it, because threads do not survive fork."""
        # The pool starts its threads with the first hash, not here: a server may fork after this.
        self._executor = ThreadPoolExecutor(self._slots, "argon2")
        self._requests = BoundedSemaphore(self._max_requests)

    def run(self, function: Callable[..., T], *arguments: str) -> T:
        """Call `function` in a slot and return its result, or raise its exception.

        Raises Overloaded if `max_requests` hold or wait for a slot already, or after waiting `max_wait_seconds`.
        """
        requests = self._requests
        if not requests.acquire(blocking=False):
            metrics.SHED.inc()
            raise Overloaded
        try:
            future = self._executor.submit(function, *arguments)
            wait([future], self._max_wait_seconds)
            # cancel() succeeds only for a call that has not begun, so the limit is on the wait and not on the hash.
            if future.cancel():
                metrics.SHED.inc()
                raise Overloaded
            return future.result()
        finally:
            requests.release()
