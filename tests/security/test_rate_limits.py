"""The rate limits without Redis: windows, keys, and where each limit is counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, cast

import pytest
from flask import Flask
from sqlalchemy import select

from app.api.client_info import address_key
from app.api.errors import RateLimited
from app.database import fetch_all
from app.security.keyed_hashes import KeyedHasher
from app.security.rate_limits import LimitName, RateLimits, Window
from app.security.rate_limits.models import RateLimit
from app.security.rate_limits.storage import SWEEP_SECONDS, CounterWindow, MemoryStorage
from app.settings import Settings
from tests.conftest import Clock

ADDRESS = "192.0.2.7"


def make_settings(**changes: Any) -> Settings:
    values = {
        "ratelimit_enabled": True,
        "redis_url": None,
        "jwt_secret_key": "k3Yv9-Qw7xZ_b2Np5-Lr8tUc1Ms4Ha6Df0Ge",
        "jwt_previous_secret_keys": (),
        "signing_key_files": (),
        "jwt_verification_key_files": (),
        "ratelimit_login_account": "3 per 5 minutes",
        "ratelimit_login_address": "100 per 5 minutes",
        "ratelimit_register": "20 per hour",
        "ratelimit_mail": "5 per hour",
        "ratelimit_default": "600 per minute",
    }
    return cast("Settings", SimpleNamespace(**(values | changes)))


def make_limits(**changes: Any) -> RateLimits:
    settings = make_settings(**changes)
    return RateLimits(settings, KeyedHasher(settings))


def hits(limits: RateLimits, times: int, name: LimitName = LimitName.DEFAULT, address: str = ADDRESS) -> int:
    """Hit one key `times` times and return how many hits were allowed."""
    allowed = 0
    for _ in range(times):
        try:
            limits.hit(name, address)
        except RateLimited:
            continue
        allowed += 1
    return allowed


def check(limits: RateLimits, name: LimitName, *key: str) -> dict[LimitName, Window]:
    return limits.check_all({name: key})


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true in time"
        time.sleep(0.02)


# Windows


def test_a_hit_returns_the_limit_the_remaining_hits_and_the_end_of_the_window(context: Flask, clock: Clock) -> None:
    limits = make_limits()
    assert limits.hit(LimitName.LOGIN_ACCOUNT, "a") == Window(3, 2, 300)
    clock.forward(seconds=100.5)
    assert limits.hit(LimitName.LOGIN_ACCOUNT, "a") == Window(3, 1, 200)


def test_a_hit_beyond_the_limit_is_refused_with_the_seconds_to_wait(context: Flask, clock: Clock) -> None:
    limits = make_limits()
    for _ in range(3):
        limits.hit(LimitName.LOGIN_ACCOUNT, "a")
    clock.forward(seconds=299.9)
    with pytest.raises(RateLimited) as caught:
        limits.hit(LimitName.LOGIN_ACCOUNT, "a")
    refusal = caught.value
    assert (refusal.limit, refusal.remaining, refusal.retry_after_seconds) == (3, 0, 1)


def test_a_window_ends_on_time_although_refused_hits_went_on(context: Flask, clock: Clock) -> None:
    limits = make_limits()
    assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3
    clock.forward(seconds=299)
    assert hits(limits, 1, LimitName.LOGIN_ACCOUNT) == 0
    clock.forward(seconds=1)
    assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3


def test_a_clock_set_back_by_a_day_does_not_close_a_window_for_a_day(context: Flask, clock: Clock) -> None:
    limits = make_limits()
    assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3
    clock.forward(days=-1)
    check(limits, LimitName.LOGIN_ACCOUNT, ADDRESS)
    assert hits(limits, 9, LimitName.LOGIN_ACCOUNT) == 3


def test_replicas_whose_clocks_differ_by_seconds_count_in_one_window(context: Flask, clock: Clock) -> None:
    limits = make_limits()
    assert hits(limits, 2, LimitName.LOGIN_ACCOUNT) == 2
    clock.forward(seconds=-5)
    assert hits(limits, 2, LimitName.LOGIN_ACCOUNT) == 1


def test_a_check_does_not_count_and_refuses_only_a_full_window(context: Flask) -> None:
    limits = make_limits()
    for _ in range(9):
        check(limits, LimitName.LOGIN_ACCOUNT, ADDRESS)
    assert hits(limits, 2, LimitName.LOGIN_ACCOUNT) == 2
    assert check(limits, LimitName.LOGIN_ACCOUNT, ADDRESS)[LimitName.LOGIN_ACCOUNT].used == 2
    assert hits(limits, 1, LimitName.LOGIN_ACCOUNT) == 1
    with pytest.raises(RateLimited) as caught:
        check(limits, LimitName.LOGIN_ACCOUNT, ADDRESS)
    assert 200 <= caught.value.retry_after_seconds <= 300


def test_several_limits_are_counted_together_and_the_first_full_one_refuses(context: Flask) -> None:
    limits = make_limits(ratelimit_login_address="4 per 5 minutes")
    one, other = (
        {LimitName.LOGIN_ACCOUNT: (email, ADDRESS), LimitName.LOGIN_ADDRESS: (ADDRESS,)} for email in ("a", "b")
    )
    windows = [limits.hit_all(one) for _ in range(3)][-1]
    assert {name: window.remaining for name, window in windows.items()} == {
        LimitName.LOGIN_ACCOUNT: 0,
        LimitName.LOGIN_ADDRESS: 1,
    }
    with pytest.raises(RateLimited) as caught:
        limits.check_all(one)
    assert caught.value.limit == 3
    limits.hit_all(other)
    with pytest.raises(RateLimited) as caught:
        limits.check_all(other)
    assert caught.value.limit == 4


def test_clear_resets_one_key_and_no_other(context: Flask) -> None:
    limits = make_limits()
    for key in ("a", "b"):
        for _ in range(3):
            limits.hit(LimitName.LOGIN_ACCOUNT, key)
    limits.clear(LimitName.LOGIN_ACCOUNT, "a")
    check(limits, LimitName.LOGIN_ACCOUNT, "a")
    with pytest.raises(RateLimited):
        check(limits, LimitName.LOGIN_ACCOUNT, "b")


def test_disabled_limits_never_refuse_and_store_nothing(context: Flask) -> None:
    limits = make_limits(ratelimit_enabled=False)
    assert [limits.hit(LimitName.LOGIN_ACCOUNT, "a") for _ in range(9)] == [None] * 9
    assert check(limits, LimitName.LOGIN_ACCOUNT, "a") == {}
    limits.clear(LimitName.LOGIN_ACCOUNT, "a")
    assert fetch_all(select(RateLimit.key)) == []


# The storage


@pytest.mark.parametrize("name", [name for name in LimitName if name is not LimitName.DEFAULT])
def test_limits_that_protect_accounts_are_shared_through_the_database(context: Flask, name: LimitName) -> None:
    one, other = (make_limits(**{f"ratelimit_{name}": "3 per hour"}) for _ in range(2))
    assert hits(one, 2, name) == 2
    assert hits(other, 9, name) == 1


def test_the_default_limit_is_counted_in_memory_without_the_database() -> None:
    one, other = (make_limits(ratelimit_default="3 per hour") for _ in range(2))
    assert hits(one, 9) == 3
    with pytest.raises(RateLimited):
        check(one, LimitName.DEFAULT, ADDRESS)
    one.clear(LimitName.DEFAULT, ADDRESS)
    assert one.hit(LimitName.DEFAULT, ADDRESS) == Window(3, 2, 3600)
    assert hits(other, 9) == 3


def test_a_window_in_memory_ends_on_time() -> None:
    limits = make_limits(ratelimit_default="1 per second")
    assert hits(limits, 2) == 1
    wait_until(lambda: hits(limits, 1) == 1)


def test_threads_do_not_lose_hits_in_memory() -> None:
    limits = make_limits(ratelimit_default="4000 per hour")
    with ThreadPoolExecutor(8) as pool:
        counted = list(pool.map(lambda _: limits.hit(LimitName.DEFAULT, ADDRESS), range(4000)))
    assert sorted(window.used for window in counted if window) == list(range(1, 4001))


def test_windows_that_have_ended_use_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = 1000.0
    monkeypatch.setattr("app.security.rate_limits.storage.time.monotonic", lambda: seconds)
    storage = MemoryStorage()
    storage.increment([CounterWindow(f"key {number}", 60) for number in range(100)])
    seconds += SWEEP_SECONDS
    storage.increment([CounterWindow("later", 60)])
    assert len(storage._windows) == 1


# Keys


def test_limits_and_parts_of_keys_are_counted_apart(context: Flask) -> None:
    limits = make_limits()
    keys = [("ab", "c"), ("a", "bc"), ("abc",), ("ab", "c", ""), ("\ud800",)]
    windows = [limits.hit(LimitName.MAIL, *key) for key in keys]
    windows.append(limits.hit(LimitName.LOGIN_ACCOUNT, "abc"))
    assert [window.used for window in windows if window] == [1] * 6


def test_the_table_contains_neither_emails_nor_addresses(context: Flask) -> None:
    make_limits().hit(LimitName.LOGIN_ACCOUNT, "alice@example.test", ADDRESS)
    ((key,),) = fetch_all(select(RateLimit.key))
    assert len(key) == 32
    assert int(key, 16)


def test_keys_depend_on_the_secret(context: Flask) -> None:
    """Without a secret, a reader of the table could hash every IPv4 address and compare."""
    one, other = make_limits(), make_limits(jwt_secret_key="another-Qw7xZ_b2Np5-Lr8tUc1Ms4Ha6Df")
    assert hits(one, 9, LimitName.LOGIN_ACCOUNT) == hits(other, 9, LimitName.LOGIN_ACCOUNT) == 3


@pytest.mark.parametrize(
    ("ip", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        (" 192.0.2.7 ", "192.0.2.7"),
        ("192.0.2.7:51820", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("64:ff9b::192.0.2.7", "192.0.2.7"),
        ("64:ff9b::c000:207", "192.0.2.7"),
        ("64:ff9b:0:0:1::1", "64:ff9b::/64"),
        ("64:FF9B::c000:207", "192.0.2.7"),
        ("[64:ff9b::192.0.2.7]:443", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:443", "192.0.2.7"),
        ("64:ff9b:1::192.0.2.7", "64:ff9b:1::c000:207"),
        ("64:ff9b:1::192.0.2.8", "64:ff9b:1::c000:208"),
        ("64:ff9b:2::1", "64:ff9b:2::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::ffff", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]", "2001:db8:1:2::/64"),
        ("[2001:db8:1:2::1]:443", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("[fe80::1%25eth0]:443", "fe80::/64"),
        ("192.0.2.7%eth0", "unknown"),
        ("192.0.2.7:", "unknown"),
        ("192.0.2.7:http", "unknown"),
        ("192.0.2.07", "unknown"),
        ("[192.0.2.7", "unknown"),
        ("2001:db8:1:2::1:443:", "unknown"),
        ("::1", "::/64"),
        *((ip, "unknown") for ip in ("", "unix:", "192.0.2.256", "192.0.2.7, 198.51.100.1", "\ud800", "1" * 100_000)),
        ("١٩٢.0.2.7", "unknown"),
    ],
)
def test_an_address_is_counted_as(ip: str, key: str) -> None:
    assert address_key(ip) == key
