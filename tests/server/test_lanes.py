"""Who is next when more wait than can be served: whoever has come last, while that is not yet known to be a storm."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import lanes, shares
from app.lanes import BURST_SECONDS, CALM_SECONDS, FILLING_SECONDS, LATE_SECONDS, LONGEST_STORM_SECONDS, SharedLine
from tests.server.small_server import read_answer, read_to_end, request, serving, wait_until

CLOSE = "Connection: close"


class Clock:
    """The monotonic clock as a line sees it, which a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(lanes, "time", clock)
    yield clock
    shares.announce_storm(-math.inf)


def line_of(clock: Clock, count: int, *, threads: int = 2, room: int = 10) -> SharedLine:
    """A line at which so many have come, one a millisecond; the first of them is known for longer."""
    line = SharedLine(threads, room)
    for number in range(count):
        (line.waiting if number < 3 else line.unread).append((clock.now, number))
        clock.now += 0.001
        line.note_surplus()
    return line


def taken(line: SharedLine, count: int) -> list[int]:
    """Who is taken by so many threads."""
    found = [line.take() for _ in range(count)]
    return [one[1] for one in found if one]


def test_the_first_comes_first(clock: Clock) -> None:
    line = line_of(clock, 5)
    assert taken(line, 7) == [0, 1, 2, 3, 4]


def test_while_the_line_fills_the_newest_comes_first(clock: Clock) -> None:
    line = line_of(clock, 9)
    assert line.surplus() <= 0
    assert taken(line, 2) == [8, 7]
    # Clients that wait for their answers: the line is as long as ever, and nobody may wait in it for good.
    clock.now += FILLING_SECONDS + 0.001
    assert taken(line, 2) == [0, 1]


def test_a_line_that_has_emptied_begins_anew(clock: Clock) -> None:
    line = line_of(clock, 9)
    clock.now += 10 * BURST_SECONDS
    assert taken(line, 8) == [0, 1, 2, 3, 4, 5, 6, 7]
    line.note_surplus()
    line.unread.extend((clock.now, number) for number in range(20, 26))
    line.note_surplus()
    assert taken(line, 2) == [25, 24]


def test_a_line_that_stays_about_half_full_is_served_in_order(clock: Clock) -> None:
    line = line_of(clock, 9)
    clock.now += 10 * BURST_SECONDS
    number, served = 9, []
    for _ in range(40):
        served += taken(line, 5)
        line.note_surplus()
        line.unread.extend((clock.now, number + more) for more in range(5))
        number += 5
        line.note_surplus()
        clock.now += 0.01
    assert served == list(range(200))


def test_bursts_that_the_line_takes_in_are_no_storm(clock: Clock) -> None:
    """Each is refused what is too much, and nothing more, however soon it follows the one before."""
    line = SharedLine(2, 10)
    for _ in range(5):
        line.unread.extend((clock.now, 0) for _ in range(12))
        line.look_around()
        assert [bool(line.take_surplus()) for _ in range(3)] == [True, True, False]
        for _ in range(10):
            clock.now += 0.01
            assert line.take()
            line.look_around()
        clock.now += 0.3
        assert not line.is_in_storm()
    assert shares.last_storm() == -math.inf


def test_a_line_that_cannot_shrink_is_served_in_order(clock: Clock) -> None:
    line = SharedLine(4, 4)
    number, served = 0, []
    for _ in range(50):
        while line.count() < 8:
            line.unread.append((clock.now, number))
            number += 1
        line.look_around()
        while line.take_surplus():
            pass
        served += taken(line, 2)
        clock.now += 0.01
    assert served == sorted(served)
    assert shares.last_storm() == -math.inf


def test_in_a_burst_the_newest_are_refused_and_taken_first(clock: Clock) -> None:
    line = line_of(clock, 13)
    assert [found[1] for found in iter(line.take_surplus, None)] == [12, 11, 10]
    assert not line.is_in_storm()
    assert taken(line, 12) == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]


def test_a_surplus_that_only_threads_see_makes_a_storm_too(clock: Clock) -> None:
    """They refuse it between two looks of the main loop, which then sees none."""
    line = SharedLine(2, 10)
    began = clock.now
    while clock.now - began <= BURST_SECONDS + 0.01:
        line.unread.extend((clock.now, 0) for _ in range(12 - line.count()))
        while line.take_surplus():
            pass
        clock.now += 0.005
    assert line.has_own_storm()
    line.unread.append((clock.now, 1))
    refused = [found[1] for found in iter(line.take_surplus, None)]
    # As many wait as there are threads, and the last to come is one of them.
    assert refused == [0] * len(refused)
    assert taken(line, 5) == [1, 0]
    clock.now += CALM_SECONDS + 0.01
    assert not line.is_in_storm()


def test_in_a_storm_who_is_late_makes_room_for_who_is_behind(clock: Clock) -> None:
    line = SharedLine(4, 10)
    while not line.has_own_storm():
        line.unread.extend((clock.now, 0) for _ in range(12 - line.count()))
        line.look_around()
        while line.take_surplus():
            pass
        clock.now += 0.005
    line.waiting.clear()
    line.unread.clear()
    for number in range(4):
        line.unread.append((clock.now, number))
        clock.now += LATE_SECONDS / 5
    assert line.take_surplus() is None
    clock.now += LATE_SECONDS * 0.3
    assert [found[1] for found in iter(line.take_surplus, None)] == [0]
    clock.now += LATE_SECONDS
    # The last of them is better served late than a thread is left without work.
    assert [found[1] for found in iter(line.take_surplus, None)] == [1, 2]
    assert taken(line, 2) == [3]
    # Nobody is refused for that alone once the storm is over.
    clock.now += CALM_SECONDS
    line.unread.extend((clock.now, number) for number in range(4))
    clock.now += 10 * LATE_SECONDS
    assert line.take_surplus() is None


def test_a_storm_has_to_show_again_that_it_is_one(clock: Clock) -> None:
    """Those who are refused ask again at once; all of them could wait, if they only may."""
    line = line_of(clock, 13)
    seconds_in_storm = 0.0
    for _ in range(int((LONGEST_STORM_SECONDS + 1) / 0.01)):
        line.look_around()
        line.take()
        if line.is_in_storm():
            seconds_in_storm += 0.01
        while line.take_surplus():
            pass
        clock.now += 0.01
        # At the first there were 13, then never more than 9.
        line.unread.extend((clock.now, 0) for _ in range((13 if clock.now < 1001 else 9) - line.count()))
    assert LONGEST_STORM_SECONDS / 2 < seconds_in_storm <= LONGEST_STORM_SECONDS + CALM_SECONDS
    assert not line.is_in_storm()
    assert line.count() == 9


def test_two_lines_keep_up_each_others_storm_for_a_while_only(clock: Clock) -> None:
    lines = [line_of(clock, 13), line_of(clock, 9)]
    for _ in range(int((LONGEST_STORM_SECONDS + 2 * CALM_SECONDS + 1) / 0.01)):
        for line in lines:
            line.look_around()
            line.take()
            while line.take_surplus():
                pass
            line.unread.extend((clock.now, 0) for _ in range((13 if clock.now < 1001 else 9) - line.count()))
        clock.now += 0.01
    assert [line.is_in_storm() for line in lines] == [False, False]


def test_a_storm_elsewhere_is_one_here(clock: Clock) -> None:
    line = line_of(clock, 7)
    assert line.take_surplus() is None
    line.warned_at = clock.now
    assert [found[1] for found in iter(line.take_surplus, None)] == [0, 1, 2, 3, 4]
    assert not SharedLine(2, 2).is_in_storm()
    clock.now += CALM_SECONDS + 0.01
    line.unread.extend((clock.now, number) for number in range(5))
    assert line.take_surplus() is None


WARNED = """
import os, threading, time
from app import shares

def warn():
    while True:
        if os.path.exists({mark!r}):
            shares.announce_storm(time.monotonic())
        time.sleep(0.02)

def post_worker_init(worker):
    threading.Thread(target=warn, daemon=True).start()
"""


def test_a_worker_heeds_the_storm_of_another(tmp_path: Path) -> None:
    """Ten clients, two threads, 50 ms each: all are served, unless a sibling has said that there is a storm."""
    mark = tmp_path / "mark"

    def ask() -> Counter[int]:
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(server.connect()) for _ in range(10)]
            for client in clients:
                client.sendall(request("GET /sleep?seconds=0.05 HTTP/1.1", CLOSE))
            return Counter(read_answer(read_to_end(client))[0].status for client in clients)

    with serving(tmp_path, WARNED.format(mark=str(mark)), MAX_QUEUED_REQUESTS="40") as server:
        assert ask() == {200: 10}
        mark.touch()
        time.sleep(0.1)
        assert ask()[503] >= 3
        mark.unlink()
        wait_until(lambda: ask() == {200: 10})


def test_a_storm_is_told_to_the_others(clock: Clock) -> None:
    line = line_of(clock, 13)
    line.look_around()
    assert shares.last_storm() == -math.inf
    clock.now += BURST_SECONDS
    line.look_around()
    assert shares.last_storm() == clock.now
