"""The interface of the storages that count hits for the rate limits, and the storage in memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

# How often expired counters are deleted. Until then they only take memory.
SWEEP_SECONDS = 60.0


class CounterWindow(NamedTuple):
    """A counter to increment or read, and the length of its window in seconds."""

    key: str
    seconds: int


class Count(NamedTuple):
    """The number of hits in a window, and the seconds until the window ends."""

    hits: int
    seconds_left: float


class CounterStorage(Protocol):
    """A storage of fixed windows. A window starts at its first hit; later hits do not extend it."""

    def increment(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Add one hit to each counter, atomically for each one, and return the new counts in the same order."""

    def read(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Return the counts in the same order without changing them."""

    def clear(self, key: str) -> None:
        """Reset the counter of `key`."""


class MemoryStorage:
    """Fixed windows in the memory of this process, which other workers do not see.

    `limits` has such a storage too, but its threads search all keys for expired ones up to a hundred times a second.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By key, the number of hits and the end of the window (time.monotonic).
        self._counters: dict[str, tuple[int, float]] = {}
        self._next_sweep = 0.0

    def increment(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Add one hit to each counter and return the new counts."""
        now = time.monotonic()
        with self._lock:
            if now >= self._next_sweep:
                self._counters = {key: counter for key, counter in self._counters.items() if counter[1] > now}
                self._next_sweep = now + SWEEP_SECONDS
            for key, seconds in windows:
                hits, end = self._open_window(key, seconds, now)
                self._counters[key] = (hits + 1, end)
            return self._counts(windows, now)

    def read(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Return the counts without changing them."""
        with self._lock:
            return self._counts(windows, time.monotonic())

    def clear(self, key: str) -> None:
        """Reset the counter of `key`."""
        with self._lock:
            self._counters.pop(key, None)

    def _counts(self, windows: Sequence[CounterWindow], now: float) -> list[Count]:
        found = [self._open_window(key, seconds, now) for key, seconds in windows]
        return [Count(hits, end - now) for hits, end in found]

    def _open_window(self, key: str, seconds: int, now: float) -> tuple[int, float]:
        hits, end = self._counters.get(key, (0, 0.0))
        return (hits, end) if end > now else (0, now + seconds)
