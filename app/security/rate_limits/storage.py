"""The interface of the storages that count hits for the rate limits, and the storage in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from threading import Lock
from typing import NamedTuple, Protocol

# How often MemoryStorage forgets the windows that have ended.
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

    The memory storage of the package `limits` starts a thread every 10 ms that reads all counters (see decision 0003).
    """

    def __init__(self) -> None:
        self._lock = Lock()
        # By key, the hits and the end of the window, in seconds of the monotonic clock.
        self._windows: dict[str, tuple[int, float]] = {}
        self._next_sweep = 0.0

    def increment(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Add one hit to each counter and return the new counts."""
        now = time.monotonic()
        counts = []
        with self._lock:
            if now >= self._next_sweep:
                self._sweep(now)
            for key, seconds in windows:
                hits, ends_at = self._find(key, now, seconds)
                self._windows[key] = (hits + 1, ends_at)
                counts.append(Count(hits + 1, ends_at - now))
        return counts

    def read(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Return the counts without changing them."""
        now = time.monotonic()
        found = [self._find(key, now, 0) for key, _ in windows]
        return [Count(hits, ends_at - now) for hits, ends_at in found]

    def clear(self, key: str) -> None:
        """Reset the counter of `key`."""
        with self._lock:
            self._windows.pop(key, None)

    def _find(self, key: str, now: float, seconds: int) -> tuple[int, float]:
        """Return the hits and the end of the window of a key, or of a new window of `seconds`."""
        found = self._windows.get(key)
        return (0, now + seconds) if found is None or found[1] <= now else found

    def _sweep(self, now: float) -> None:
        """Forget the windows that have ended."""
        self._windows = {key: window for key, window in self._windows.items() if window[1] > now}
        self._next_sweep = now + SWEEP_SECONDS
