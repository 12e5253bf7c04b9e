"""Keeps a store of counters that is down, or hangs, from slowing or failing requests."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress

logger = logging.getLogger(__name__)


class Breaker:
    """Leaves a store alone after a failure, and asks in the background whether it works again.

    No caller waits for a store that hangs, but those that were asking it when it froze.
    """

    def __init__(self, label: str, rest_seconds: float, probe: Callable[[], object]) -> None:
        """`probe` raises as long as the store `label` does not work; it is called in a thread."""
        self._label = label
        self._rest_seconds = rest_seconds
        self._probe = probe
        self._lock = threading.Lock()
        self._try_at: float | None = None
        self._prober: threading.Thread | None = None

    def allows(self) -> bool:
        """Return whether the store may be asked now."""
        try_at = self._try_at
        if try_at is None:
            return True
        if time.monotonic() >= try_at:
            self._start_probe(try_at)
        return False

    def works(self) -> bool:
        """Ask the store now if it may be asked, and return whether it answered."""
        if not self.allows():
            return False
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001 - whatever it is, the store does not work
            self.failed(error)
            return False
        return True

    def failed(self, error: Exception) -> None:
        """Let the store rest. Only the first failure in a row is logged."""
        with self._lock:
            first, self._try_at = self._try_at is None, time.monotonic() + self._rest_seconds
        if first:
            name = type(error).__name__
            logger.warning("Rate limits do without the %s: %s: %s", self._label, name, error)

    def _start_probe(self, try_at: float) -> None:
        """Start the one prober, unless another caller has, or it has just come back."""
        with self._lock:
            # A thread of before a fork is not alive in the child, where a mere flag would stay set.
            probing = self._prober is not None and self._prober.is_alive()
            if probing or self._try_at != try_at:
                return
            self._prober = threading.Thread(target=self._try, name="limits-probe", daemon=True)
            with suppress(RuntimeError):  # No thread can be had, as at the interpreter's end.
                self._prober.start()

    def _try(self) -> None:
        try:
            self._probe()
        except Exception as error:  # noqa: BLE001 - whatever it is, the store does not work yet
            self.failed(error)
            return
        with self._lock:
            self._try_at = None
        logger.info("Rate limits use the %s again.", self._label)
