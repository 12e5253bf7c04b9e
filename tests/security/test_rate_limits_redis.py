"""The rate limits on a real Redis: shared while it answers, local and quick while it does not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
import redis

from app.api.errors import RateLimited
from app.security.rate_limits import LimitName, RateLimits, Window
from app.security.rate_limits.redis_storage import TIMEOUT_SECONDS, RedisCounters
from tests.security.test_rate_limits import ADDRESS, hits, make_limits, wait_until, warnings_in
from tests.support.services.redis import RedisServer

REST_SECONDS = 0.3


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as started:
        yield started


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as connected:
        connected.flushall()
        yield connected


MakeLimits = Callable[[str], RateLimits]


@pytest.fixture
def machine(server: RedisServer, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeLimits:
    """Makes the limits of one machine: what two of them share, they share through Redis."""
    monkeypatch.setattr("app.security.rate_limits.REDIS_REST_SECONDS", REST_SECONDS)
    return lambda name: make_limits(tmp_path / name, redis_url=server.url)


def keys_in(client: redis.Redis) -> list[bytes]:
    return list(client.scan_iter())


def timed(limits: RateLimits) -> float:
    started = time.perf_counter()
    limits.hit(LimitName.DEFAULT, ADDRESS)
    return time.perf_counter() - started


def test_two_machines_share_one_window(machine: MakeLimits) -> None:
    one, other = machine("one"), machine("other")
    assert one.hit(LimitName.LOGIN_ACCOUNT, ADDRESS) == Window(3, 2, 300)
    other.check(LimitName.LOGIN_ACCOUNT, ADDRESS)
    assert hits(other, 9, LimitName.LOGIN_ACCOUNT) == 2
    for limits in (one, other):
        with pytest.raises(RateLimited) as caught:
            limits.check(LimitName.LOGIN_ACCOUNT, ADDRESS)
        assert 295 <= caught.value.retry_after_seconds <= 300
    one.clear(LimitName.LOGIN_ACCOUNT, ADDRESS)
    other.check(LimitName.LOGIN_ACCOUNT, ADDRESS)


def test_threads_of_two_machines_get_exactly_the_limit(
    server: RedisServer, client: redis.Redis, tmp_path: Path
) -> None:
    allowed: list[int] = []

    def work(name: str) -> None:
        limits = make_limits(tmp_path / name, redis_url=server.url, ratelimit_default="300 per hour")
        allowed.append(hits(limits, 100))

    threads = [threading.Thread(target=work, args=(name,)) for name in "aaaabbbb"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == 300


def test_a_window_ends_and_starts_anew(server: RedisServer, client: redis.Redis) -> None:
    counters = RedisCounters(server.url)
    assert [counters.take("a", 2, 0.2)[0] for _ in range(4)] == [1, 2, 3, 3]
    assert 0 < counters.peek("a", 0.2)[1] <= 0.2
    time.sleep(0.25)
    assert counters.peek("a", 0.2) == (0, 0.2)
    assert counters.take("a", 2, 0.2)[0] == 1


def test_a_key_that_lost_its_expiry_gets_a_new_one(server: RedisServer, client: redis.Redis) -> None:
    """As after a restore of a backup; else its owner would be locked out for good."""
    counters = RedisCounters(server.url)
    counters.take("a", 1, 60)
    (key,) = keys_in(client)
    client.persist(key)
    assert counters.take("a", 1, 60) == (2, 60)
    assert 0 < cast("int", client.pttl(key)) <= 60_000


def test_redis_holds_neither_emails_nor_addresses(machine: MakeLimits, client: redis.Redis) -> None:
    machine("one").hit(LimitName.LOGIN_ACCOUNT, "alice@example.test", ADDRESS)
    (key,) = keys_in(client)
    assert key.startswith(b"gatepost:limits:")
    assert b"alice" not in key
    assert ADDRESS.encode() not in key


def test_without_redis_the_machine_counts_by_itself_and_shares_again_when_it_is_back(
    machine: MakeLimits, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = machine("one"), machine("other")
    assert hits(one, 2, LimitName.LOGIN_ACCOUNT) == 2
    server.stop()
    try:
        assert timed(one) < 2 * TIMEOUT_SECONDS
        assert hits(one, 9, LimitName.LOGIN_ACCOUNT) == 3
        assert hits(other, 9, LimitName.LOGIN_ACCOUNT) == 3
        time.sleep(3 * REST_SECONDS)  # The breakers try again meanwhile, and say nothing new.
        assert hits(one, 9, LimitName.LOGIN_ACCOUNT) == 0
        assert len(warnings_in(caplog)) == 2
    finally:
        server.start()
    wait_until(lambda: redis_counts(one, "x") == 1)
    wait_until(lambda: redis_counts(other, "x") > 1)


def redis_counts(limits: RateLimits, key: str) -> int:
    """How many hits this key has by now."""
    window = limits.hit(LimitName.REGISTER, key)
    assert window is not None
    return window.limit - window.remaining


def test_a_frozen_redis_slows_only_the_first_calls(
    machine: MakeLimits, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    limits = machine("one")
    timed(limits)
    times: list[float] = []
    server.freeze()
    try:
        threads = [threading.Thread(target=lambda: times.extend(timed(limits) for _ in range(40))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len([seconds for seconds in times if seconds > TIMEOUT_SECONDS / 2]) <= 4
        assert max(times) < 2 * TIMEOUT_SECONDS + 0.1
        # From here on not even the calls that find the breaker ready to try again wait for Redis.
        deadline = time.monotonic() + 4 * REST_SECONDS
        later = []
        while time.monotonic() < deadline:
            later.append(timed(limits))
            time.sleep(0.005)
        assert max(later) < TIMEOUT_SECONDS / 2
        assert sum(later) / len(later) < 0.002
        assert len(warnings_in(caplog)) == 1
    finally:
        server.thaw()


def test_after_a_thaw_redis_is_used_again(
    machine: MakeLimits,
    server: RedisServer,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="app")
    limits = machine("one")
    server.freeze()
    try:
        limits.hit(LimitName.DEFAULT, ADDRESS)
    finally:
        server.thaw()
    wait_until(lambda: timed(limits) > 0 and "again" in caplog.text)
    client.flushall()
    limits.hit(LimitName.DEFAULT, ADDRESS)
    assert len(keys_in(client)) == 1


def test_a_redis_that_is_full_is_passed_over(
    machine: MakeLimits, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    limits = machine("one")
    client.config_set("maxmemory", "1")
    try:
        assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3
        time.sleep(3 * REST_SECONDS)
        assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 0
        assert len(warnings_in(caplog)) == 1
    finally:
        client.config_set("maxmemory", "0")
