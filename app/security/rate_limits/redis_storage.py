"""Rate limit counters in Redis, shared by all workers and replicas."""

from __future__ import annotations

from collections.abc import Sequence

import redis
from limits.storage import RedisStorage as LimitsRedisStorage
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.security.rate_limits.storage import Count, CounterWindow

TIMEOUT_SECONDS = 0.25
# One round trip for all counters. A script runs atomically, so a counter never lacks its expiry; one that lost it, in
# a restored backup for example, gets a new one.
INCREMENT_SCRIPT = """
local counts = {}
for index, key in ipairs(KEYS) do
    local hits = redis.call('incr', key)
    local milliseconds_left = redis.call('pttl', key)
    if milliseconds_left < 0 then
        milliseconds_left = tonumber(ARGV[index])
        redis.call('pexpire', key, milliseconds_left)
    end
    table.insert(counts, {hits, milliseconds_left})
end
return counts
"""


class RedisStorage(LimitsRedisStorage):
    """Fixed windows in Redis. Timeouts are short and nothing is retried, because there is a fallback."""

    STORAGE_SCHEME: list[str] = []

    def __init__(self, url: str) -> None:
        pool = redis.ConnectionPool.from_url(
            url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            # Saves two round trips for each connection, of which each can take the whole timeout.
            driver_info=None,
        )
        super().__init__(url, connection_pool=pool, key_prefix="gatepost:limits")
        self._client = redis.Redis(connection_pool=pool)
        self._increment = self._client.register_script(INCREMENT_SCRIPT)

    def increment(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Add one hit to each counter and return the new counts."""
        keys = [self.prefixed_key(key) for key, _ in windows]
        counts = self._increment(keys, [int(seconds * 1000) for _, seconds in windows])
        return [Count(hits, milliseconds / 1000) for hits, milliseconds in counts]

    def read(self, windows: Sequence[CounterWindow]) -> list[Count]:
        """Return the counts without changing them."""
        with self._client.pipeline() as pipeline:
            for key, _ in windows:
                pipeline.get(self.prefixed_key(key))
                pipeline.pttl(self.prefixed_key(key))
            replies = pipeline.execute()
        return [
            Count(int(hits or 0), milliseconds / 1000 if milliseconds > 0 else seconds)
            for hits, milliseconds, (_, seconds) in zip(replies[::2], replies[1::2], windows, strict=True)
        ]
