"""Rate limit counters in the memory of one process, which other workers do not see."""

from __future__ import annotations

import time
from collections.abc import Sequence

from limits.storage import MemoryStorage as LimitsMemoryStorage

from app.security.rate_limits.storage import Count, CounterWindow


class MemoryStorage(LimitsMemoryStorage):
    """Fixed windows in the memory of this process."""

    def increment(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Add one hit to each counter and return the new counts."""
        return [Count(self.incr(key, seconds), self._seconds_left(key)) for key, seconds in windows]

    def read(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Return the counts without changing them."""
        return [Count(self.get(key), self._seconds_left(key)) for key, _ in windows]

    def _seconds_left(self, key: str) -> float:
        return max(0.0, self.get_expiry(key) - time.time())
