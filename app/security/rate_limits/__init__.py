"""Rate limits: counts attempts for each limit and key in fixed windows, and refuses those beyond the limit.

Callers turn a Window into headers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from limits import parse

from app.api.errors import RateLimited
from app.database.circuit_breaker import CircuitBreaker
from app.observability import metrics
from app.security.keyed_hashes import KeyedHasher
from app.security.rate_limits.database_storage import DatabaseStorage
from app.security.rate_limits.storage import Count, CounterStorage, CounterWindow, MemoryStorage
from app.settings import Settings

REDIS_RETRY_SECONDS = 5.0
_PURPOSE = b"rate limit"
Result = TypeVar("Result")


class LimitName(StrEnum):
    """The limits. The setting RATELIMIT_<NAME> gives the number of hits and the window's length."""

    LOGIN_ACCOUNT = "login_account"
    LOGIN_ADDRESS = "login_address"
    REGISTER = "register"
    MAIL = "mail"
    DEFAULT = "default"


Keys = Mapping[LimitName, tuple[str, ...]]
"""The limits that an attempt counts against, each with the parts of its key, such as an email and an address."""


@dataclass(frozen=True, slots=True)
class Window:
    """The state of one window after a hit or a check."""

    limit: int
    remaining: int
    reset_seconds: int

    @property
    def used(self) -> int:
        """The number of hits."""
        return self.limit - self.remaining


class RateLimits:
    """The limits of the settings.

    All counters are in Redis if REDIS_URL is set. Otherwise, and while Redis fails, the counters that protect accounts
    are in the database, where all workers share them, and those of LimitName.DEFAULT in this process's memory.
    """

    def __init__(self, settings: Settings, hasher: KeyedHasher) -> None:
        self._is_enabled = settings.ratelimit_enabled
        self._limits = {name: parse(getattr(settings, f"ratelimit_{name}")) for name in LimitName}
        self._hasher = hasher
        self._memory, self._database = MemoryStorage(), DatabaseStorage()
        self._redis: tuple[CounterStorage, CircuitBreaker] | None = None
        if settings.redis_url and self._is_enabled:
            self._redis = _connect_redis(settings.redis_url)

    def redis_state(self) -> str | None:
        """Return "ok" or "unavailable", None if no Redis is configured. Waits for Redis, within its timeout."""
        if self._redis is None:
            return None
        _, breaker = self._redis
        return "ok" if breaker.check() else "unavailable"

    def hit(self, name: LimitName, *key: str) -> Window | None:
        """Count one hit and return the window, None if limits are disabled. Raises RateLimited beyond the limit."""
        return self.hit_all({name: key}).get(name)

    def hit_all(self, keys: Keys) -> dict[LimitName, Window]:
        """Count one hit against each limit in one round trip and return the windows, none if limits are disabled.

        Raises RateLimited for the first limit that is exceeded; the hits count all the same.
        """
        return self._windows(keys, lambda storage, windows: storage.increment(windows), pending_hits=0)

    def check_all(self, keys: Keys) -> dict[LimitName, Window]:
        """Return the windows without counting, none if limits are disabled. Raises RateLimited if one is used up."""
        return self._windows(keys, lambda storage, windows: storage.read(windows), pending_hits=1)

    def clear(self, name: LimitName, *key: str) -> None:
        """Reset the counter of a key."""
        if self._is_enabled:
            counter = self._counter(name, key)
            self._run(name, lambda storage: storage.clear(counter.key))

    def _windows(
        self,
        keys: Keys,
        operation: Callable[[CounterStorage, list[CounterWindow]], list[Count]],
        *,
        pending_hits: int,
    ) -> dict[LimitName, Window]:
        if not self._is_enabled:
            return {}
        counters = [self._counter(name, key) for name, key in keys.items()]
        # The first name decides for all: only LimitName.DEFAULT has another storage, and it is counted alone.
        counts = self._run(next(iter(keys)), lambda storage: operation(storage, counters))
        found = {}
        for name, count in zip(keys, counts, strict=True):
            limit, reset_seconds = self._limits[name].amount, max(1, math.ceil(count.seconds_left))
            if count.hits + pending_hits > limit:
                metrics.LIMITS_HIT.labels(name.value).inc()
                raise RateLimited(limit=limit, remaining=0, retry_after_seconds=reset_seconds)
            found[name] = Window(limit, limit - count.hits, reset_seconds)
        return found

    def _counter(self, name: LimitName, key: tuple[str, ...]) -> CounterWindow:
        """Return the counter of a key, named by a keyed hash, which reveals neither an email nor an address."""
        limit = self._limits[name]
        parts = [part.encode("utf-8", "surrogatepass") for part in (f"{name} {limit}", *key)]
        data = b"".join(b"%d:%b" % (len(part), part) for part in parts)
        return CounterWindow(self._hasher.sign(_PURPOSE, data).hex(), limit.get_expiry())

    def _run(self, name: LimitName, operation: Callable[[CounterStorage], Result]) -> Result:
        if self._redis is not None:
            storage, breaker = self._redis
            if breaker.is_closed():
                try:
                    return operation(storage)
                except Exception as error:  # noqa: BLE001 - no error of Redis or its client may fail a request
                    breaker.open(error)
        return operation(self._memory if name is LimitName.DEFAULT else self._database)


def _connect_redis(url: str) -> tuple[CounterStorage, CircuitBreaker]:
    # Imported only where it is configured: the client costs each process 0.1 s at start and 8 MB.
    from app.security.rate_limits.redis_storage import RedisStorage

    storage = RedisStorage(url)
    # A write, because a Redis that is full or forbids scripts still answers PING.
    return storage, CircuitBreaker(
        "redis", lambda: storage.increment([CounterWindow("probe", 1)]), retry_seconds=REDIS_RETRY_SECONDS
    )
