"""A circuit breaker: stops calls to a failed service until a probe in the background succeeds."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger(__name__)


class CircuitBreaker:
    """Opens at the first failure. Once open, no caller waits for the service: a thread probes it instead."""

    def __init__(self, label: str, retry_seconds: float, probe: Callable[[], object]) -> None:
        """`label` names the service in the log. `probe` raises while the service fails; it may block."""
        self._label = label
        self._retry_seconds = retry_seconds
        self._probe = probe
        self._lock = threading.Lock()
        # While the circuit is open, the monotonic time of the next probe.
        self._probe_at: float | None = None
        self._thread: threading.Thread | None = None

    def is_closed(self) -> bool:
        """Return whether the service may be called. Starts a probe if one is due."""
        probe_at = self._probe_at
        if probe_at is None:
            return True
        if time.monotonic() >= probe_at:
            self._start_probe(probe_at)
        return False

    def check(self) -> bool:
        """Probe the service now, unless the circuit is open; return whether it works."""
        if not self.is_closed():
            return False
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001 - every error means that the service does not work
            self.record_failure(error)
            return False
        return True

    def record_failure(self, error: Exception) -> None:
        """Open the circuit. Only the first of consecutive failures is logged."""
        with self._lock:
            is_first, self._probe_at = self._probe_at is None, time.monotonic() + self._retry_seconds
        if is_first:
            logger.warning("%s failed and is not used: %s: %s", self._label, type(error).__name__, error)

    def _start_probe(self, probe_at: float) -> None:
        with self._lock:
            # The thread of a parent process is not alive in a forked child; a flag would stay set.
            is_probing = self._thread is not None and self._thread.is_alive()
            if is_probing or self._probe_at != probe_at:
                return
            self._thread = threading.Thread(target=self._run_probe, name="circuit-breaker-probe", daemon=True)
            # Raised if no thread can be started, for example at interpreter shutdown. A later call tries again.
            with suppress(RuntimeError):
                self._thread.start()

    def _run_probe(self) -> None:
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001 - every error means that the service does not work
            self.record_failure(error)
            return
        with self._lock:
            self._probe_at = None
        logger.info("%s works again and is used.", self._label)
