"""The circuit breaker: callers never wait for the service that it protects them from."""

from __future__ import annotations

import threading
import time

import pytest

from app.security.rate_limits.circuit_breaker import CircuitBreaker
from tests.security.test_rate_limits import wait_until


def test_while_a_probe_blocks_no_caller_waits_and_no_second_probe_starts() -> None:
    started, answer = threading.Semaphore(0), threading.Event()

    def probe() -> None:
        started.release()
        answer.wait(60)

    breaker = CircuitBreaker("The service", 0.02, probe)
    assert breaker.is_closed()
    breaker.record_failure(OSError("gone"))
    assert not breaker.is_closed()
    began = time.perf_counter()
    for _ in range(5):
        time.sleep(0.03)
        threads = [threading.Thread(target=breaker.is_closed) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert time.perf_counter() - began < 30
    assert started.acquire(timeout=30)
    assert not started.acquire(blocking=False)
    answer.set()
    wait_until(breaker.is_closed)


def test_a_probe_that_cannot_start_fails_no_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    breaker = CircuitBreaker("The service", 0.0, lambda: None)
    breaker.record_failure(OSError("gone"))
    with monkeypatch.context() as context:
        context.setattr(threading.Thread, "start", no_thread)
        assert not breaker.is_closed()
    wait_until(breaker.is_closed)


def test_check_probes_and_opens_the_circuit_on_failure() -> None:
    def probe() -> None:
        raise OSError("gone")

    assert CircuitBreaker("The service", 60, lambda: None).check()
    breaker = CircuitBreaker("The service", 60, probe)
    assert not breaker.check()
    assert not breaker.is_closed()
