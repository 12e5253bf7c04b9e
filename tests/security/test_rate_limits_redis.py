"""The rate limits on a real Redis: shared while it answers, with a fast fallback while it does not."""

from __future__ import annotations

import gc
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import cast

import pytest
import redis
from flask import Flask

from app.api.errors import RateLimited
from app.security.rate_limits import LimitName, RateLimits, Window
from app.security.rate_limits.redis_storage import TIMEOUT_SECONDS, RedisStorage
from app.security.rate_limits.storage import Count, CounterWindow
from tests.security.test_rate_limits import ADDRESS, check, hits, make_limits, wait_until, warnings_in
from tests.support.services.redis import RedisServer

RETRY_SECONDS = 0.3


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as started:
        yield started


@pytest.fixture
def client(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(server.url) as connected:
        connected.flushall()
        yield connected


MakeLimits = Callable[[], RateLimits]


@pytest.fixture
def make(server: RedisServer, client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeLimits]:
    """Return a function that makes the limits of one more process."""
    monkeypatch.setattr("app.security.rate_limits.REDIS_RETRY_SECONDS", RETRY_SECONDS)
    made: list[RateLimits] = []

    def make_more() -> RateLimits:
        made.append(make_limits(redis_url=server.url))
        return made[-1]

    yield make_more
    # The threads of their circuit breakers end with this, and log nothing in the next test.
    for limits in made:
        wait_until(lambda limits=limits: limits.redis_state() == "ok")  # type: ignore[misc]
    with warnings.catch_warnings():
        # redis-py leaves sockets that could not connect to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def keys_in(client: redis.Redis) -> list[bytes]:
    return list(client.scan_iter())


def test_two_processes_share_one_window(make: MakeLimits) -> None:
    one, other = make(), make()
    assert one.hit(LimitName.LOGIN_ACCOUNT, ADDRESS) == Window(3, 2, 300)
    assert check(other, LimitName.LOGIN_ACCOUNT, ADDRESS)[LimitName.LOGIN_ACCOUNT].used == 1
    assert hits(other, 9, LimitName.LOGIN_ACCOUNT) == 2
    for limits in (one, other):
        with pytest.raises(RateLimited) as caught:
            check(limits, LimitName.LOGIN_ACCOUNT, ADDRESS)
        assert 200 <= caught.value.retry_after_seconds <= 300
    one.clear(LimitName.LOGIN_ACCOUNT, ADDRESS)
    check(other, LimitName.LOGIN_ACCOUNT, ADDRESS)


def test_several_limits_are_counted_in_one_call(make: MakeLimits) -> None:
    keys = {LimitName.LOGIN_ACCOUNT: ("a", ADDRESS), LimitName.LOGIN_ADDRESS: (ADDRESS,)}
    limits = make()
    limits.hit_all(keys)
    limits.hit(LimitName.LOGIN_ADDRESS, ADDRESS)
    assert [window.used for window in limits.check_all(keys).values()] == [1, 2]


def test_threads_of_two_processes_get_exactly_the_limit(server: RedisServer, client: redis.Redis) -> None:
    allowed: list[int] = []

    def work(limits: RateLimits) -> None:
        allowed.append(hits(limits, 100))

    processes = [make_limits(redis_url=server.url, ratelimit_default="300 per hour") for _ in range(2)]
    threads = [threading.Thread(target=work, args=(limits,)) for limits in processes * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(allowed) == 300


def test_a_window_ends_and_the_next_hit_starts_another(server: RedisServer, client: redis.Redis) -> None:
    storage, window = RedisStorage(server.url), CounterWindow("a", 1)
    assert [storage.increment([window])[0].hits for _ in range(4)] == [1, 2, 3, 4]
    assert 0 < storage.read([window])[0].seconds_left <= 1
    wait_until(lambda: storage.read([window]) == [Count(0, 1)])
    assert storage.increment([window])[0].hits == 1


def test_a_key_without_an_expiry_gets_one(server: RedisServer, client: redis.Redis) -> None:
    """A restored backup can have such keys; their window would never end."""
    storage, window = RedisStorage(server.url), CounterWindow("a", 60)
    storage.increment([window])
    (key,) = keys_in(client)
    client.persist(key)
    assert storage.increment([window]) == [Count(2, 60)]
    assert 0 < cast("int", client.pttl(key)) <= 60_000


def test_redis_contains_neither_emails_nor_addresses(make: MakeLimits, client: redis.Redis) -> None:
    make().hit(LimitName.LOGIN_ACCOUNT, "alice@example.test", ADDRESS)
    (key,) = keys_in(client)
    assert key.startswith(b"gatepost:limits:")
    assert b"alice" not in key
    assert ADDRESS.encode() not in key


def test_without_redis_account_limits_are_counted_in_the_database_until_it_is_back(
    context: Flask, make: MakeLimits, server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    one, other = make(), make()
    assert hits(one, 2, LimitName.LOGIN_ACCOUNT) == 2
    server.stop()
    try:
        assert hits(one, 2, LimitName.LOGIN_ACCOUNT) == 2
        assert hits(other, 9, LimitName.LOGIN_ACCOUNT) == 1
        time.sleep(3 * RETRY_SECONDS)  # Probes fail meanwhile, which is not logged again.
        assert hits(one, 9, LimitName.LOGIN_ACCOUNT) == 0
        assert len(warnings_in(caplog)) == 2
    finally:
        server.start()
    wait_until(lambda: used_after_hit(one, "x") == 1)
    wait_until(lambda: used_after_hit(other, "x") > 1)


def used_after_hit(limits: RateLimits, key: str) -> int:
    window = limits.hit(LimitName.DEFAULT, key)
    assert window is not None
    return window.used


def test_without_redis_the_default_limit_is_counted_in_memory(make: MakeLimits, server: RedisServer) -> None:
    one, other = make(), make()
    assert used_after_hit(one, "x") == 1
    server.stop()
    try:
        assert [used_after_hit(limits, "x") for limits in (one, one, other)] == [1, 2, 1]
    finally:
        server.start()


def test_only_the_first_calls_wait_for_a_frozen_redis(
    make: MakeLimits, server: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads that called Redis are recorded; a call to a frozen Redis takes TIMEOUT_SECONDS."""
    increment = RedisStorage.increment
    callers: list[str] = []

    def record(storage: RedisStorage, windows: list[CounterWindow]) -> list[Count]:
        callers.append(threading.current_thread().name)
        return increment(storage, windows)

    limits = make()
    limits.hit(LimitName.DEFAULT, ADDRESS)
    monkeypatch.setattr(RedisStorage, "increment", record)
    server.freeze()
    try:
        threads = [threading.Thread(target=hits, args=(limits, 40), name="caller") for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 <= callers.count("caller") <= 4
        # Later calls do not wait, not even those that find a probe due: a thread of the breaker waits.
        callers.clear()
        wait_until(lambda: hits(limits, 1) == 1 and len(callers) >= 2)
        assert set(callers) == {"redis-probe"}
        assert len(warnings_in(caplog)) == 1
    finally:
        server.thaw()


def test_a_call_waits_for_a_frozen_redis_no_longer_than_the_timeout(make: MakeLimits, server: RedisServer) -> None:
    limits = make()
    limits.hit(LimitName.DEFAULT, ADDRESS)
    server.freeze()
    try:
        started = time.perf_counter()
        limits.hit(LimitName.DEFAULT, ADDRESS)
        assert time.perf_counter() - started < 10 * TIMEOUT_SECONDS
    finally:
        server.thaw()


def test_after_a_thaw_redis_is_used_again(make: MakeLimits, server: RedisServer, client: redis.Redis) -> None:
    limits = make()
    server.freeze()
    try:
        limits.hit(LimitName.DEFAULT, ADDRESS)
    finally:
        server.thaw()
    wait_until(lambda: limits.redis_state() == "ok")
    client.flushall()
    limits.hit(LimitName.DEFAULT, ADDRESS)
    assert len(keys_in(client)) == 1


def test_a_redis_that_is_full_is_not_used(
    context: Flask, make: MakeLimits, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    limits = make()
    client.config_set("maxmemory", "1")
    try:
        assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3
        time.sleep(3 * RETRY_SECONDS)
        assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 0
        assert len(warnings_in(caplog)) == 1
    finally:
        client.config_set("maxmemory", "0")
