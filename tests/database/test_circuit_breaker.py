"""The circuit breaker: callers never wait for the service that it protects them from."""

from __future__ import annotations

import threading
import time

import pytest

from app.database.circuit_breaker import CircuitBreaker
from tests.security.test_rate_limits import wait_until


def test_an_open_circuit_closes_when_a_probe_succeeds_and_no_caller_waits() -> None:
    probed, works = threading.Semaphore(0), threading.Event()

    def probe() -> None:
        probed.release()
        if not works.is_set():
            raise OSError("still gone")

    breaker = CircuitBreaker("the service", probe, retry_seconds=0.01)
    assert breaker.is_closed()
    before = time.monotonic()
    breaker.open(OSError("gone"))
    assert breaker.opened_at >= before
    assert not breaker.is_closed()
    assert probed.acquire(timeout=30)
    assert probed.acquire(timeout=30)
    assert not breaker.is_closed()
    works.set()
    wait_until(breaker.is_closed)


def test_a_probe_that_blocks_is_the_only_one() -> None:
    started, answer = threading.Semaphore(0), threading.Event()

    def probe() -> None:
        started.release()
        answer.wait(60)

    breaker = CircuitBreaker("the service", probe, retry_seconds=0.0)
    for _ in range(8):
        breaker.open(OSError("gone"))
    assert started.acquire(timeout=30)
    assert not breaker.is_closed()
    assert not breaker.check()
    assert not started.acquire(blocking=False)
    answer.set()
    wait_until(breaker.is_closed)


def test_a_circuit_that_nothing_could_close_stays_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    breaker = CircuitBreaker("the service", lambda: None, retry_seconds=60)
    breaker.open(OSError("gone"))
    assert breaker.is_closed()


def test_check_probes_and_opens_the_circuit_on_failure() -> None:
    def probe() -> None:
        raise OSError("gone")

    assert CircuitBreaker("the service", lambda: None, retry_seconds=60).check()
    breaker = CircuitBreaker("the service", probe, retry_seconds=60)
    assert not breaker.check()
    assert not breaker.is_closed()
