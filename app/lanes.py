"""Where a request waits for its thread: in the line that all share, or in a lane of its own for probes and logins.

Owns how many may wait, and what a request is by its first bytes. Must not know connections beyond that.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app import shares
from app.wire import END_OF_HEAD, MAX_HEAD_BYTES

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,6})[ \t]*\r\n", re.IGNORECASE)
HAS_BODY = re.compile(rb"\r\n(?:content-length|transfer-encoding)[ \t:]", re.IGNORECASE)
# Its client waits to be asked for the body; or its length is told twice, which is refused.
OPEN_ENDED = re.compile(rb"\r\n(?:expect|transfer-encoding)[ \t:]", re.IGNORECASE)
FIRST_LINE = re.compile(rb"\S+ \S+ HTTP/1\.[01]\r")
# A request's first line may be so long, for gunicorn.conf.py too.
MAX_LINE_BYTES = 8190
# As much of a body as is awaited before the request has a thread.
MAX_AWAITED_BYTES = 65_536
# The answer that touches nothing has a thread that nothing can hold up; the others may wait for a database.
PROBE_THREADS = {"/health": 1, "/health/ready": 2, "/metrics": 1}
# What hashes a password keeps a core busy for as long as hundreds of reads: one at a time in each worker, however many
# come at once. The rest wait here, and hold no thread that a read could have.
HASHING = ("/api/v1/auth/login", "/api/v1/auth/register", "/api/v1/auth/password")
HASHING_THREADS = 1
BURST_SECONDS = 0.1
# While a line fills, which takes up to one burst, and until that has lasted for another.
FILLING_SECONDS = 2 * BURST_SECONDS
CALM_SECONDS = 1.0
# Who has waited for so long in a storm is refused, as long as there are others. A few would else stay behind, since the
# newest come first, and be served after all when for a moment nobody else is there: they alone made the p99.
LATE_SECONDS = 0.01
# Then it has to show again that it is one. Else clients who ask again at once when they are refused, and are no more
# than could all wait, would keep it up for good.
LONGEST_STORM_SECONDS = 10.0


def is_complete(arrived: bytes) -> bool:
    """Whether the thread that takes these bytes need not wait for more of them; or must not, to ask or to refuse."""
    end = arrived.find(END_OF_HEAD)
    if end < 0:
        return len(arrived) > MAX_HEAD_BYTES or not _may_become_request(arrived)
    if not HAS_BODY.search(arrived, 0, end + 2):
        return True
    length, missing = _measure_body(arrived)
    return missing <= 0 or length > MAX_AWAITED_BYTES or OPEN_ENDED.search(arrived, 0, end + 2) is not None


def _may_become_request(arrived: bytes) -> bool:
    """Whether the first line, as far as it is here, can be that of a request; if not, its client is told at once."""
    # gunicorn lets one empty line pass (RFC 9112 section 2.2), and counts two bytes more than it is told.
    line, ended, _ = arrived.removeprefix(b"\r\n").partition(b"\n")
    if not ended:
        return len(line) <= MAX_LINE_BYTES + 2
    return FIRST_LINE.fullmatch(line) is not None


def _measure_body(arrived: bytes) -> tuple[int, int]:
    """Return the length of the body, and how much of it is missing; -1 and 0 where the head does not tell."""
    end = arrived.index(END_OF_HEAD)
    length = CONTENT_LENGTH.search(arrived, 0, end + 2)
    if length is None:
        return -1, 0
    return int(length[1]), int(length[1]) + end + len(END_OF_HEAD) - len(arrived)


class Line:
    """Requests that wait for one of some threads.

    As many may wait as a burst brings. Where more keep coming than can be served, a long queue helps nobody: each
    request would wait in all of it. There, until the storm is over, but as many wait as there are threads.
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        self.threads = threads
        self.max_waiting = max_waiting
        # Else all of this is for nothing: who waits, waits for as long as a thread takes.
        self.can_shrink = threads < max_waiting
        self.waiting: deque[tuple[float, Any]] = deque()
        # When there were last too many, and since when that goes on.
        self.overflowed_at = self.overflows_since = -math.inf
        # Since when it has been more than half full.
        self.half_full_at = math.inf
        # When there was last a storm elsewhere.
        self.warned_at = -math.inf

    def count(self) -> int:
        """How many wait."""
        return len(self.waiting)

    def surplus(self) -> int:
        """How many more wait than may."""
        return self.count() - (self.threads if self.is_in_storm() else self.max_waiting)

    def note_surplus(self) -> int:
        """Return the surplus, and keep in mind that there is one, or how long there has nearly been one."""
        now, count = time.monotonic(), self.count()
        # One that has emptied by half was in a burst, and another burst soon after is no storm either.
        has_drained = count <= self.max_waiting / 2 and not self.has_own_storm()
        if has_drained or now - self.overflows_since > LONGEST_STORM_SECONDS:
            self.overflowed_at = self.overflows_since = -math.inf
        # Not from the half downwards: a line that hovers there would fill quickly over and over.
        if count <= self.max_waiting / 8:
            self.half_full_at = math.inf
        elif count > self.max_waiting / 2 and math.isinf(self.half_full_at):
            self.half_full_at = now
        surplus = self.surplus()
        # What another's storm makes too much here is none of its own: two lines would keep up each other's for good.
        if surplus > 0 and (self.has_own_storm() or not self.is_in_storm()):
            if now - self.overflowed_at > CALM_SECONDS:
                self.overflows_since = now
            self.overflowed_at = now
        return surplus

    def is_in_storm(self) -> bool:
        """Whether there have been too many for longer than a burst lasts, here or elsewhere, and still are."""
        is_warned = self.can_shrink and time.monotonic() - self.warned_at <= CALM_SECONDS
        return is_warned or self.has_own_storm()

    def has_own_storm(self) -> bool:
        """Whether there is a storm by what came here."""
        return self.overflows() and self.overflowed_at - self.overflows_since >= BURST_SECONDS

    def overflows(self) -> bool:
        """Whether there have been too many a moment ago, where that makes a difference."""
        return self.can_shrink and time.monotonic() - self.overflowed_at <= CALM_SECONDS

    def fills_quickly(self) -> bool:
        """Whether it is more than half full, and was nearly empty a moment ago."""
        return self.can_shrink and 0 <= time.monotonic() - self.half_full_at <= FILLING_SECONDS

    def has_overdue(self, seconds: float) -> bool:
        """Whether the first has waited for longer than that."""
        try:
            return time.monotonic() - self.waiting[0][0] > seconds
        except IndexError:
            return False


def _popleft(line: deque[tuple[float, Any]]) -> tuple[float, Any] | None:
    try:
        return line.popleft()
    except IndexError:
        return None  # Another thread was quicker, or it is empty.


def _pop(line: deque[tuple[float, Any]]) -> tuple[float, Any] | None:
    try:
        return line.pop()
    except IndexError:
        return None


class SharedLine(Line):
    """The line that is served by the threads themselves, who take what they find.

    `unread` are those of which nobody knows more than that they came, all of them later than those that wait.
    """

    def __init__(self, threads: int, max_waiting: int) -> None:
        super().__init__(threads, max_waiting)
        self.unread: deque[tuple[float, Any]] = deque()
        # Grows with each look of a thread.
        self.taken = 0

    def count(self) -> int:
        return len(self.waiting) + len(self.unread)

    def look_around(self) -> None:
        """Keep in mind how full it is here, and whether there is a storm elsewhere; tell of one that is here."""
        self.warned_at = shares.last_storm()
        self.note_surplus()
        if self.has_own_storm():
            shares.announce_storm(time.monotonic())

    def take(self) -> tuple[float, Any] | None:
        """Remove and return who has waited longest; while it becomes too many, who came last.

        If it is a storm that begins, all but the newest would be answered late, and those whose turn does not come
        are refused once that is sure. If it was a burst, it is over before the first of them has waited long.
        """
        if self.overflows() or self.fills_quickly():
            return _pop(self.unread) or _pop(self.waiting)
        return _popleft(self.waiting) or _popleft(self.unread)

    def has_late(self) -> bool:
        """Whether the first has waited for so long in a storm that one of those behind should be served instead."""
        if self.count() < 2 or not self.has_own_storm():
            return False
        try:
            return time.monotonic() - (self.waiting or self.unread)[0][0] > LATE_SECONDS
        except IndexError:
            return False

    def take_surplus(self, free: int = 0) -> tuple[float, Any] | None:
        """Remove and return one that is too much here, while so many threads are about to take one each.

        In a storm, those that have waited longest are worth least: their clients have given up first.
        """
        if self.surplus() > free:
            self.note_surplus()
        elif not self.has_late():
            return None
        if self.is_in_storm():
            return _popleft(self.waiting) or _popleft(self.unread)
        return _pop(self.unread) or _pop(self.waiting)


class Lane(Line):
    """Threads for one kind of request, and the requests before them. The main loop alone touches it."""

    def __init__(self, threads: int, max_waiting: int) -> None:
        super().__init__(threads, max_waiting)
        self.pool = ThreadPoolExecutor(threads)
        self.in_hand = 0


class Lanes:
    """The lanes beside the shared line, and who belongs there."""

    def __init__(self, prefix: str, max_waiting: int) -> None:
        probes = {path: Lane(threads, max_waiting) for path, threads in PROBE_THREADS.items()}
        hashing = Lane(HASHING_THREADS, max_waiting)
        self.all = [*probes.values(), hashing]
        self._probes = {f"{start}{path}".encode(): lane for path, lane in probes.items() for start in ("", prefix)}
        self._hashing = {f"{prefix}{path}".encode(): hashing for path in HASHING}

    def find_hashing(self, arrived: bytes) -> Lane | None:
        """Return the lane of a request that hashes a password, if it has come whole: else it might hold up a thread."""
        if not arrived.startswith(b"POST "):
            return None
        lane = self._hashing.get(arrived.split(b" ", 2)[1])
        if lane is None:
            return None
        length, missing = _measure_body(arrived) if END_OF_HEAD in arrived else (-1, 0)
        return lane if length >= 0 and missing <= 0 else None

    def find_probe(self, arrived: bytes) -> Lane | None:
        """Return the lane of a probe without a body."""
        if not arrived.startswith((b"GET ", b"HEAD ")) or not arrived.endswith(END_OF_HEAD):
            return None
        lane = self._probes.get(arrived.split(b" ", 2)[1])
        return None if lane is None or HAS_BODY.search(arrived) else lane
