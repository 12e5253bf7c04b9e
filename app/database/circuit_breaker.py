"""A circuit breaker: calls to a failed service fail fast until a background thread finds that it works again.

Guards PostgreSQL, when it stops responding, and the Redis of the rate limits. Without it each request would wait for a
deadline of its own; a few requests would occupy all threads of a process, and health checks would wait behind them.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import suppress

log = logging.getLogger("gatepost.circuit_breaker")


class CircuitBreaker:
    """Closed: the service may be called. A failure opens the circuit, and a successful probe closes it."""

    def __init__(self, service: str, probe: Callable[[], object], *, retry_seconds: float) -> None:
        """`service` is its name in the log. `probe` raises while the service fails; it may block."""
        self._service = service
        self._probe = probe
        self._retry_seconds = retry_seconds
        self._closed = threading.Event()
        self._closed.set()
        self._lock = threading.Lock()
        # By the monotonic clock.
        self.opened_at = -math.inf

    def is_closed(self) -> bool:
        """Return whether the service may be called."""
        return self._closed.is_set()

    def check(self) -> bool:
        """Probe the service now, unless the circuit is open; return whether it works."""
        if not self.is_closed():
            return False
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001 - every error means that the service does not work
            self.open(error)
            return False
        return True

    def open(self, error: BaseException) -> None:
        """Open the circuit because of `error`, if it is closed, and start to probe the service."""
        with self._lock:
            if not self._closed.is_set():
                return
            self.opened_at = time.monotonic()
            self._closed.clear()
        log.warning("%s outage", self._service, extra={"cause": type(error).__name__})
        thread = threading.Thread(target=self._probe_until_closed, name=f"{self._service}-probe", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            # No thread can be started, for example while the process ends: nothing would ever close the circuit.
            self._closed.set()

    def _probe_until_closed(self) -> None:
        while not self._closed.is_set():
            time.sleep(self._retry_seconds)
            with suppress(Exception):
                self._probe()
                self._closed.set()
        log.warning("%s recovered", self._service)
