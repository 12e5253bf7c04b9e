"""How often one caller may do one thing: the limits by name, counted across all workers.

Owns the names, the keys and the order of the stores. Must not import Flask: callers turn a Window
into headers.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol, TypeVar

from limits import parse
from limits.storage import MemoryStorage
from sqlalchemy.engine import make_url

from app.api.errors import RateLimited
from app.observability import metrics
from app.security.rate_limits.breaker import Breaker
from app.security.rate_limits.file import counter_path
from app.security.rate_limits.file_store import MAP_BYTES, Count, LmdbStorage

if TYPE_CHECKING:
    from app.settings import Settings
from app.security.keyed_hashes import service_secrets

REDIS_REST_SECONDS = 5.0
FILE_REST_SECONDS = 60.0
# Any longer and it is no address; also keeps what a proxy passes on from filling the cache.
MAX_ADDRESS_CHARACTERS = 64
NO_ADDRESS = "unknown"

Answer = TypeVar("Answer")


class LimitName(StrEnum):
    """A limit; the setting of `ratelimit_` and this name says how much it allows."""

    LOGIN_ACCOUNT = "login_account"
    LOGIN_ADDRESS = "login_address"
    REGISTER = "register"
    MAIL = "mail"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Window:
    """The state of one window after a call."""

    limit: int
    remaining: int
    reset_seconds: int


class Counters(Protocol):
    """What counts: Redis, the shared file, or this process's memory."""

    def take(self, key: str, limit: int, seconds: float) -> Count:
        """Add one unless that would pass `limit`; return what the count is, or would have been."""

    def peek(self, key: str, seconds: float) -> Count:
        """Return the count without adding to it."""

    def clear(self, key: str) -> None:
        """Forget the count of `key`."""


class MemoryCounters(MemoryStorage):
    """The last resort: counters of this process alone."""

    def take(self, key: str, limit: int, seconds: float) -> Count:
        """Add one; return the count."""
        return self.incr(key, seconds), self._left(key)

    def peek(self, key: str, seconds: float) -> Count:
        """Return the count without adding to it."""
        count = self.get(key)
        return count, self._left(key) if count else seconds

    def _left(self, key: str) -> float:
        return max(0.0, self.get_expiry(key) - time.time())


def _without_password(database_url: str) -> str:
    """What names a service's database for good: a password that is changed must not begin new counters."""
    return make_url(database_url).render_as_string(hide_password=True)


class RateLimits:
    """The limits of the settings. A store that fails is passed over: no request fails by it."""

    def __init__(self, settings: Settings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rules = {name: _Rule.read(settings, name) for name in LimitName}
        self._stores: list[tuple[Counters, Breaker]] = []
        self._redis: Breaker | None = None
        self._memory: MemoryCounters | None = None
        self._enabled = settings.ratelimit_enabled
        if not self._enabled:
            return
        if settings.redis_url:
            # Where there is no Redis, its client would cost each start a tenth of a second, and 8 MB.
            from app.security.rate_limits.redis_storage import RedisCounters

            self._redis = self._add(RedisCounters(settings.redis_url), "Redis server", REDIS_REST_SECONDS)
        path = counter_path(settings.ratelimit_dir, _without_password(settings.database_url), MAP_BYTES)
        self._add(LmdbStorage(path, clock=clock), "shared file", FILE_REST_SECONDS)

    def _add(self, store: Counters, label: str, rest_seconds: float) -> Breaker:
        # Not a mere ping: a server that is full, or forbids scripts, answers that.
        breaker = Breaker(label, rest_seconds, lambda: store.take("probe", 1, 1))
        self._stores.append((store, breaker))
        return breaker

    def redis_state(self) -> str | None:
        """Return "ok" or "unavailable" for the Redis that is configured, None where there is none."""
        if self._redis is None:
            return None
        return "ok" if self._redis.works() else "unavailable"

    def hit(self, name: LimitName, *key: str) -> Window | None:
        """Count one call, unless limits are off. Raises RateLimited if the window was full."""
        if not self._enabled:
            return None
        rule = self._rules[name]
        hashed = rule.hash(key)
        count, left = self._ask(lambda store: store.take(hashed, rule.limit, rule.seconds))
        if count > rule.limit:
            metrics.LIMITS_HIT.labels(name.value).inc()
            raise _refusal(rule, left)
        return Window(rule.limit, rule.limit - count, _whole_seconds(left))

    def check(self, name: LimitName, *key: str) -> None:
        """Count nothing. Raises RateLimited if the window is full."""
        if not self._enabled:
            return
        rule = self._rules[name]
        hashed = rule.hash(key)
        count, left = self._ask(lambda store: store.peek(hashed, rule.seconds))
        if count >= rule.limit:
            metrics.LIMITS_HIT.labels(name.value).inc()
            raise _refusal(rule, left)

    def clear(self, name: LimitName, *key: str) -> None:
        """Forget what was counted for this key."""
        if self._enabled:
            hashed = self._rules[name].hash(key)
            self._ask(lambda store: store.clear(hashed))

    def _ask(self, question: Callable[[Counters], Answer]) -> Answer:
        for store, breaker in self._stores:
            if breaker.allows():
                try:
                    return question(store)
                # Whatever a store breaks on, the next one counts instead; the breaker logs it.
                except Exception as error:  # noqa: BLE001
                    breaker.failed(error)
        if self._memory is None:
            self._memory = MemoryCounters()  # Not earlier: it starts threads, which no fork takes along.
        return question(self._memory)


@dataclass(frozen=True, slots=True)
class _Rule:
    limit: int
    seconds: int
    hasher: hashlib.blake2b

    @classmethod
    def read(cls, settings: Settings, name: LimitName) -> _Rule:
        item = parse(getattr(settings, f"ratelimit_{name}"))
        # A plain hash of an IPv4 address or a known email is no secret: anyone can hash them all.
        secret = hashlib.blake2b(service_secrets(settings)[0].encode(), person=b"rate limits").digest()
        return cls(
            item.amount,
            item.get_expiry(),
            hashlib.blake2b(f"{name} {item}\0".encode(), digest_size=12, key=secret),
        )

    def hash(self, parts: tuple[str, ...]) -> str:
        """Return the name under which a store counts `parts`, which tells nothing of them."""
        hasher = self.hasher.copy()
        for part in parts:
            data = part.encode("utf-8", "surrogatepass")
            hasher.update(b"%d:%b" % (len(data), data))
        return hasher.hexdigest()


def _refusal(rule: _Rule, left: float) -> RateLimited:
    return RateLimited(limit=rule.limit, remaining=0, retry_after_seconds=_whole_seconds(left))


def _whole_seconds(left: float) -> int:
    return max(1, math.ceil(left))


def address_key(ip: str) -> str:
    """Return what an address is counted as: itself, or for IPv6 its /64, one customer's share.

    All that is no address counts as one caller, so that no one gets a fresh window by sending
    rubbish.
    """
    return _address_key(ip) if len(ip) <= MAX_ADDRESS_CHARACTERS else NO_ADDRESS


@lru_cache(maxsize=4096)
def _address_key(ip: str) -> str:
    try:
        # Some gateways append the client's port in X-Forwarded-For, which would be a new caller for
        # each connection.
        address = ipaddress.ip_address(re.sub(r"^(?:\[(.+)\](?::\d+)?|([\d.]+):\d+)$", r"\1\2", ip.strip()))
    except ValueError:
        return NO_ADDRESS
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{ipaddress.IPv6Address(int(address) >> 64 << 64)}/64"
