"""app/security/hash_slots.py: limits on the threads that hash passwords, and on the requests that wait for them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from argon2 import PasswordHasher
from flask import Flask
from werkzeug.test import TestResponse

from app.api.errors import Overloaded
from app.database import db
from app.security import passwords
from app.security.hash_slots import HashSlots
from tests.auth.support import get_me, log_in
from tests.conftest import API, PASSWORD, QUICK, ROOT, Person, password_hash, problem

# A test that hangs fails after so long; nothing here waits that long on purpose.
GUARD_SECONDS = 60.0


class SlowHash:
    """A hash function that blocks until the test releases it, and counts the calls that run at the same time."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.running = self.most = self.calls = 0
        self._changed = threading.Condition()

    def __call__(self, *_: object) -> str:
        with self._changed:
            self.calls += 1
            self.running += 1
            self.most = max(self.most, self.running)
            self._changed.notify_all()
        assert self.released.wait(GUARD_SECONDS)
        with self._changed:
            self.running -= 1
        return "hashed"

    def wait_until_running(self, count: int) -> None:
        """Wait until `count` calls run at the same time."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.running >= count, GUARD_SECONDS)


@contextmanager
def callers(count: int) -> Iterator[Callable[..., Future[Any]]]:
    """Give a function that calls another one in a thread, as a server does for a request."""
    with ThreadPoolExecutor(count) as threads:
        yield threads.submit


def free_requests(slots: HashSlots) -> int:
    """Return how many more requests may hold or wait for a slot."""
    return slots._requests._value


def wait_until_full(slots: HashSlots) -> None:
    """Wait until as many requests as possible hold or wait for a slot."""
    deadline = time.monotonic() + GUARD_SECONDS
    while free_requests(slots):
        assert time.monotonic() < deadline
        time.sleep(0.001)


# The limits


def test_no_more_calls_than_slots_run_at_the_same_time() -> None:
    slots, slow = HashSlots(2, 6, GUARD_SECONDS), SlowHash()
    with callers(6) as call:
        results = [call(slots.run, slow) for _ in range(6)]
        slow.wait_until_running(2)
        slow.released.set()
        assert [result.result() for result in results] == ["hashed"] * 6
    assert slow.most == 2


def test_a_request_beyond_the_limit_is_refused_at_once() -> None:
    slots, slow = HashSlots(1, 2, GUARD_SECONDS), SlowHash()
    with callers(3) as call:
        first = call(slots.run, slow)
        slow.wait_until_running(1)
        second = call(slots.run, slow)
        wait_until_full(slots)
        with pytest.raises(Overloaded):
            slots.run(slow)
        slow.released.set()
        assert (first.result(), second.result()) == ("hashed", "hashed")
    assert slow.calls == 2
    assert free_requests(slots) == 2


def test_a_request_that_has_waited_too_long_is_refused_and_its_password_never_hashed() -> None:
    slots, slow = HashSlots(1, 2, 0.05), SlowHash()
    with callers(1) as call:
        first = call(slots.run, slow)
        slow.wait_until_running(1)
        with pytest.raises(Overloaded):
            slots.run(slow)
        slow.released.set()
        # The first had its slot: however long a hash takes, it is not refused.
        assert first.result() == "hashed"
    assert slots.run(lambda: "next") == "next"
    assert slow.calls == 1
    assert free_requests(slots) == 2


def test_an_exception_reaches_the_caller_and_frees_its_slot() -> None:
    slots = HashSlots(1, 1, GUARD_SECONDS)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            slots.run(lambda: str(1 // 0))
    assert slots.run(lambda: "next") == "next"
    assert free_requests(slots) == 1


@pytest.mark.parametrize(("threads", "requests"), [(1, 1), (4, 3), (8, 6), (16, 12)])
def test_three_quarters_of_the_request_threads_may_wait_for_a_hash(threads: int, requests: int) -> None:
    assert free_requests(passwords._make_slots(threads)) == requests


FORK = """
import os, sys
from app.security import passwords

# The thread of the pool exists in the parent alone, and the parent's request is never released in the child.
encoded = passwords.hash_password("seven tall lamps")
assert passwords._slots._requests.acquire(blocking=False)
children = []
for _ in range(3):
    child = os.fork()
    if not child:
        is_right = passwords.verify_password("seven tall lamps", encoded)
        is_wrong = passwords.verify_password("seven small lamps", encoded)
        is_unused = passwords._slots._requests._value == passwords._slots._max_requests
        os._exit(0 if is_right and not is_wrong and is_unused else 1)
    children.append(child)
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
assert passwords.verify_password("seven tall lamps", encoded)
sys.exit(codes != [0, 0, 0])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_worker_has_slots_of_its_own() -> None:
    """gunicorn forks its workers from a process that has loaded the application and may have hashed a password."""
    done = subprocess.run([sys.executable, "-c", FORK], cwd=ROOT, capture_output=True, timeout=GUARD_SECONDS)
    assert (done.returncode, done.stderr) == (0, b"")


# Requests


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowHash:
    """One slot, two requests, and an Argon2 that blocks until it is released."""
    slow = SlowHash()
    passwords.warm_up()

    class SlowHasher(PasswordHasher):
        def hash(self, password: str | bytes, *, salt: bytes | None = None) -> str:
            slow()
            return password_hash()

        def verify(self, hash: str | bytes, password: str | bytes) -> bool:  # type: ignore[override]  # noqa: A002
            slow()
            return super().verify(hash, password)

    monkeypatch.setattr(passwords, "_HASHER", SlowHasher(*QUICK))
    monkeypatch.setattr(passwords, "_slots", HashSlots(1, 2, GUARD_SECONDS))
    return slow


def register(app: Flask, person: Person) -> TestResponse:
    body = {"email": "new@example.com", "name": "New", "password": PASSWORD}
    return app.test_client().post(f"{API}/auth/register", json=body)


def log_in_as(app: Flask, person: Person) -> TestResponse:
    return log_in(app.test_client(), person.email)


def log_in_as_unknown(app: Flask, person: Person) -> TestResponse:
    return log_in(app.test_client(), "unknown@example.com")


def change_password(app: Flask, person: Person) -> TestResponse:
    body = {"current_password": PASSWORD, "new_password": "another tall lamp"}
    return app.test_client().post(f"{API}/auth/password", json=body, headers=person.headers)


def create_user(app: Flask, carol: Person) -> TestResponse:
    body = {"email": "new@example.com", "name": "New", "password": PASSWORD}
    return app.test_client().post(f"{API}/users", json=body, headers=carol.headers)


HASHING = [register, log_in_as, log_in_as_unknown, change_password, create_user]
Send = Callable[[Flask, Person], TestResponse]


@pytest.mark.parametrize("send", HASHING)
def test_a_flood_is_refused_with_retry_after_while_reads_are_served(
    app: Flask, carol: Person, slow: SlowHash, send: Send
) -> None:
    with callers(2) as call:
        held = [call(log_in_as, app, carol) for _ in range(2)]
        slow.wait_until_running(1)
        wait_until_full(passwords._slots)
        for _ in range(3):
            refused = send(app, carol)
            assert problem(refused) == (503, "overloaded")
            assert refused.headers["Retry-After"] == "1"
        assert get_me(app.test_client(), carol.access_token).status_code == 200
        slow.released.set()
        assert [response.result().status_code for response in held] == [200, 200]
    assert free_requests(passwords._slots) == 2


@pytest.mark.parametrize("send", HASHING)
def test_a_request_that_waits_for_a_slot_holds_no_connection(
    app: Flask, carol: Person, slow: SlowHash, send: Send
) -> None:
    with callers(1) as call:
        response = call(send, app, carol)
        slow.wait_until_running(1)
        with app.app_context():
            assert db.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
        slow.released.set()
        assert response.result().status_code in (200, 201, 204, 401)
