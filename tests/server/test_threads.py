"""How many threads serve at once, and how requests come to them."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from app import concurrency
from app.concurrency import LOOK_SECONDS, Turnstile
from app.lanes import MAX_AWAITED_BYTES, SharedLine, is_complete
from app.readiness import Readiness
from app.server import ProblemWorker
from tests.server.small_server import CHUNKED, GET, POST, request, wait_until


class Threads:
    """Threads that pass a turnstile over and over, each counting how often."""

    def __init__(self, turnstile: Turnstile, count: int) -> None:
        self.turnstile = turnstile
        self.is_over = False
        self.counts = [0] * count
        self.threads = [threading.Thread(target=self._run, args=(number,)) for number in range(count)]
        for thread in self.threads:
            thread.start()

    def _run(self, number: int) -> None:
        while not self.is_over:
            self.turnstile.pass_through()
            self.counts[number] += 1
            time.sleep(0.001)

    def moving(self) -> int:
        """Return how many of them go on."""
        time.sleep(0.05)
        before = list(self.counts)
        time.sleep(0.1)
        return sum(now > then for now, then in zip(self.counts, before, strict=True))

    def end(self) -> None:
        self.is_over = True
        self.turnstile.open_for_good()
        for thread in self.threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in self.threads)


def test_so_many_pass_as_may() -> None:
    turnstile = Turnstile(4)
    threads = Threads(turnstile, 4)
    try:
        assert threads.moving() == 4
        for allowed in (2, 1, 3, 4, 1):
            turnstile.open(allowed)
            wait_until(lambda allowed=allowed: threads.moving() == allowed)  # type: ignore[misc]
        assert turnstile.open()
        assert not turnstile.open()
        wait_until(lambda: threads.moving() == 4)
        turnstile.open(1)
    finally:
        threads.end()


def test_threads_stand_aside_while_the_processor_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = [0.0]
    clock = [100.0]
    monkeypatch.setattr(concurrency, "_seconds_wanted", lambda tasks: wanted[0])
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    turnstile = Turnstile(4)

    def after(share: float) -> int:
        clock[0] += 1.01 * LOOK_SECONDS
        wanted[0] += 1.01 * share * LOOK_SECONDS
        turnstile.adjust()
        return turnstile.allowed

    after(0.0)
    assert [after(1.3) for _ in range(4)] == [2, 1, 1, 1]
    assert [after(0.8), after(0.5), after(0.8), after(0.95), after(0.1), after(0.1), after(0.1)] == [
        1,
        2,
        2,
        1,
        2,
        3,
        4,
    ]
    assert after(0.0) == 4
    after(1.0)
    # What happened while nobody looked says nothing about now.
    clock[0] += 10
    wanted[0] += 10
    turnstile.adjust()
    assert turnstile.allowed == 2


def test_time_wanted_is_that_of_the_threads_that_serve() -> None:
    turnstile = Turnstile(1)
    turnstile.enter()

    def wanted_by(work: Callable[[], None]) -> float:
        before = concurrency._seconds_wanted(turnstile._tasks)
        work()
        return concurrency._seconds_wanted(turnstile._tasks) - before

    def work() -> None:
        until = time.thread_time() + 0.1
        while time.thread_time() < until:
            pass

    def let_another_work() -> None:
        other = threading.Thread(target=work)
        other.start()
        other.join()

    assert wanted_by(work) > 0.05
    if sys.platform == "linux":
        assert wanted_by(let_another_work) < 0.05


COMPLETE = [
    (request(GET), True),
    (b"GET / HTTP/1.1\r\nHost: h\r\n", False),
    (b"GE", False),
    (request(GET, "Content-Length: 3"), False),
    (request(GET, "Content-Length: 3", body="abc"), True),
    (request(POST, "content-length:  3", body="ab"), False),
    (request(POST, "content-length:  3", body="abc"), True),
    (request(POST, "Content-Length: 3", "Expect: 100-continue"), True),
    (request(POST, CHUNKED), True),
    (request(POST, "Content-Length: 3", CHUNKED), True),
    (request(POST, f"Content-Length: {MAX_AWAITED_BYTES}"), False),
    (request(POST, f"Content-Length: {MAX_AWAITED_BYTES + 1}"), True),
    (request(POST, "Content-Length: -3"), True),
    (b"GET / HTTP/1.1\nHost: h\n\n", True),
    (b"GET / HTTP/2.0\r\n", True),
    (b"\x16\x03\x01", False),
    (b"\r\n", False),
    (b"\r\nGET / HT", False),
    (b"\r\n\r\n\r\n", True),
    (b"a" * 8192, False),
    (b"a" * 8193, True),
    (b"GET / HTTP/1.1\r\nA: " + b"a" * 70_000, True),
]


@pytest.mark.parametrize(("arrived", "complete"), COMPLETE)
def test_what_a_thread_need_not_wait_for(arrived: bytes, complete: bool) -> None:
    assert is_complete(arrived) is complete


def test_descriptor_is_told_of_once_until_it_is_watched_again() -> None:
    readiness = Readiness()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        readiness.watch(ours.fileno())
        assert readiness.look(10) == []
        theirs.send(b"a")
        assert readiness.wait() == ours.fileno()
        assert readiness.look(10) == []
        readiness.watch_again(ours.fileno())
        assert readiness.look(10) == [(ours.fileno(), False)]
        readiness.watch_again(ours.fileno())
        theirs.shutdown(socket.SHUT_WR)
        assert readiness.look(10) == [(ours.fileno(), True)]
        readiness.forget(ours.fileno())
        with pytest.raises(OSError, match="No such file"):
            readiness.watch_again(ours.fileno())


def test_each_call_wakes_a_thread_and_the_last_all() -> None:
    readiness = Readiness()
    woken: list[object] = []

    def sleep() -> None:
        woken.append(readiness.wait())

    threads = [threading.Thread(target=sleep) for _ in range(8)]
    for thread in threads:
        thread.start()
    # The kernel may tell a second thread of a byte before the first has read it.
    readiness.wake()
    wait_until(lambda: len(woken) >= 1)
    readiness.wake()
    readiness.wake()
    wait_until(lambda: len(woken) >= 3)
    readiness.wake_all_for_good()
    for thread in threads:
        thread.join(10)
    assert woken == [None] * 8
    assert readiness.wait() is None


@pytest.mark.parametrize(
    ("free", "waiting", "stuck", "done"),
    [
        (set(), 3, False, ["look", "adjust", "read", "thin out"]),
        (set(), 3, True, ["look", "open"]),
        ({1}, 3, False, ["wake"]),
        ({1}, 0, False, ["open"]),
    ],
)
def test_main_loop_looks_after_those_who_wait(free: set[int], waiting: int, stuck: bool, done: list[str]) -> None:
    seen: list[str] = []

    def note(what: str, answer: Any = None) -> Any:
        seen.append(what)
        return answer

    worker: Any = SimpleNamespace(
        free_threads=free,
        is_watching=True,
        line=SimpleNamespace(count=lambda: waiting, look_around=lambda: 0),
        readiness=SimpleNamespace(wake=lambda: note("wake")),
        line_up_readable=lambda: note("look"),
        turnstile=SimpleNamespace(open=lambda: note("open", True), adjust=lambda: note("adjust")),
        _is_stuck=lambda now: stuck,
        _read_those_who_wait=lambda seconds: note("read"),
        _thin_out=lambda line: note("thin out"),
    )
    ProblemWorker._watch(worker)
    assert seen == done
    assert worker.is_watching == (waiting > 0)


@pytest.mark.parametrize("free", [set(), {1}])
def test_who_can_be_read_is_lined_up_unless_gone(free: set[int]) -> None:
    woken: list[bool] = []
    conns: dict[int, Any] = {4: "here", 5: "gone", 6: "has said all", 8: "also here"}
    worker: Any = SimpleNamespace(
        free_threads=free,
        line=SimpleNamespace(unread=[(0.0, "before")], count=lambda: 1),
        # Of 7 another thread was told before.
        readiness=SimpleNamespace(
            look=lambda count: [(4, False), (5, True), (6, True), (7, False), (8, False)],
            wake=lambda: woken.append(True),
        ),
        claim=conns.get,
        read=lambda conn: None if conn == "gone" else b"GET /",
    )
    ProblemWorker.line_up_readable(worker)
    assert [conn for _, conn in worker.line.unread] == ["before", "here", "has said all", "also here"]
    assert len(woken) == len(free)


def test_nobody_is_woken_for_nothing() -> None:
    woken: list[bool] = []
    worker: Any = SimpleNamespace(
        free_threads={1},
        line=SharedLine(2, 10),
        readiness=SimpleNamespace(look=lambda count: [], wake=lambda: woken.append(True)),
    )
    ProblemWorker.line_up_readable(worker)
    assert not woken


def test_a_storm_elsewhere_keeps_no_idle_thread_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that find nothing in a storm go to sleep, each in the kernel."""
    looks: list[int] = []
    readiness = Readiness()
    look = readiness.look

    def counted(count: int) -> list[tuple[int, bool]]:
        looks.append(count)
        return look(count)

    monkeypatch.setattr(readiness, "look", counted)
    line = SharedLine(4, 128)
    worker: Any = SimpleNamespace(
        is_over=False,
        is_watching=True,
        free_threads=set(),
        max_queue_seconds=5.0,
        turnstile=Turnstile(4),
        line=line,
        readiness=readiness,
        attend=lambda conn, is_surplus: None,
    )
    for name in ("_take_next", "_claim_next", "line_up_readable", "_serve"):
        setattr(worker, name, partial(getattr(ProblemWorker, name), worker))
    line.warned_at = time.monotonic()
    threads = [threading.Thread(target=worker._serve) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(worker.free_threads) == 4)
        readiness.wake()
        time.sleep(0.2)
        assert len(looks) <= 20
    finally:
        worker.is_over = True
        readiness.wake_all_for_good()
        for thread in threads:
            thread.join(10)


def test_nobody_is_refused_while_threads_are_free_for_him() -> None:
    line = SharedLine(2, 10)
    line.warned_at = now = time.monotonic()
    line.unread.extend((now, number) for number in range(5))
    worker: Any = SimpleNamespace(free_threads={1, 2}, line=line, is_watching=True, max_queue_seconds=1.0)
    worker.line_up_readable = lambda: None
    # Two may wait, two are about to be taken, and one is taken here.
    assert ProblemWorker._take_next(worker) == (0, False)
    worker.free_threads.clear()
    assert ProblemWorker._take_next(worker) == (1, True)


@pytest.mark.parametrize("is_storm", [False, True])
def test_in_a_storm_a_thread_asks_for_the_newest_before_it_takes_one(is_storm: bool) -> None:
    unread: list[tuple[float, str]] = [(time.monotonic(), "old")]
    worker: Any = SimpleNamespace(
        free_threads={1},
        is_watching=True,
        max_queue_seconds=1.0,
        line=SimpleNamespace(take_surplus=lambda free: None, is_in_storm=lambda: is_storm, take=unread.pop),
        line_up_readable=lambda: unread.append((time.monotonic(), "new")),
    )
    assert ProblemWorker._take_next(worker) == ("new" if is_storm else "old", False)
