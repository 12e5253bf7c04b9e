"""Counters that several machines share through Redis."""

from __future__ import annotations

import redis
from limits.storage import RedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_SECONDS = 0.25
# One round trip, and no moment at which a key has a count but no expiry. A key that has lost its
# expiry gets a new one.
TAKE = """
local limit, milliseconds = tonumber(ARGV[1]), tonumber(ARGV[2])
local count = tonumber(redis.call('get', KEYS[1]) or 0)
if count < limit then redis.call('incr', KEYS[1]) end
local left = redis.call('pttl', KEYS[1])
if left < 0 then
    redis.call('pexpire', KEYS[1], milliseconds)
    left = milliseconds
end
return {count + 1, left}
"""


class RedisCounters(RedisStorage):
    """Fixed windows in Redis that start at their first hit. Waits are short; nothing is retried."""

    STORAGE_SCHEME: list[str] = []

    def __init__(self, url: str) -> None:
        pool = redis.ConnectionPool.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            # Two round trips fewer, of which each can wait for the whole timeout.
            driver_info=None,
        )
        super().__init__(url, connection_pool=pool, key_prefix="gatepost:limits")
        self._client = redis.Redis(connection_pool=pool)
        self._take = self._client.register_script(TAKE)

    def take(self, key: str, limit: int, seconds: float) -> tuple[int, float]:
        """Add one unless that would pass `limit`; return what the count is, or would have been."""
        count, left = self._take([self.prefixed_key(key)], [limit, int(seconds * 1000)])
        return int(count), left / 1000

    def peek(self, key: str, seconds: float) -> tuple[int, float]:
        """Return the count and the seconds left without adding to it."""
        name = self.prefixed_key(key)
        with self._client.pipeline() as both:
            both.get(name)
            both.pttl(name)
            count, left = both.execute()
        return int(count or 0), left / 1000 if left > 0 else seconds
