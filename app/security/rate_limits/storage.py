"""The interface of the storages that count hits for the rate limits, and the storage in memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from limits.storage import MemoryStorage as LimitsMemoryStorage


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


class MemoryStorage(LimitsMemoryStorage):
    """Fixed windows in the memory of this process, which other workers do not see."""

    def increment(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Add one hit to each counter and return the new counts."""
        return [Count(self.incr(key, seconds), self._seconds_left(key)) for key, seconds in windows]

    def read(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Return the counts without changing them."""
        return [Count(self.get(key), self._seconds_left(key)) for key, _ in windows]

    def _seconds_left(self, key: str) -> float:
        return max(0.0, self.get_expiry(key) - time.time())
