"""The interface of the storages that count hits for the rate limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol


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
