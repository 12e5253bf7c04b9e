"""How requests come to threads: each thread asks the kernel for the next one when it has answered one.

gunicorn's main loop hands every request to a thread and hears of its end, which costs more than to parse it. Here it
looks after those who wait only while no thread is free: then it sees who they are, for how long they wait, and that
probes and refusals come through. Must not know what a request or its answer says.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from app.concurrency import Turnstile
from app.lanes import Lane, Lanes, SharedLine, is_complete
from app.refusing import RefusingWorker
from app.resting import EXPIRY_SECONDS

# While no thread is free: how often the main loop looks; when threads that take nothing are stuck; and who waits for so
# long that it may be a probe.
WATCH_SECONDS, STUCK_SECONDS, SUSPECT_SECONDS = 0.005, 0.01, 0.05
MAX_SEEN_AT_ONCE = 1024


class ServingWorker(RefusingWorker):
    """gunicorn's threaded worker, whose threads serve themselves."""

    max_queued: ClassVar[int] = 128
    max_queue_seconds: ClassVar[float] = 5.0
    probe_prefix: ClassVar[str] = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.free_threads: set[int] = set()
        self.is_watching = self.is_over = False
        self.taken_before, self.taken_at = 0, 0.0

    def get_thread_pool(self) -> ThreadPoolExecutor:
        self.line = SharedLine(self.cfg.threads, self.max_queued)
        self.lanes = Lanes(self.probe_prefix, self.max_queued)
        self.turnstile = Turnstile(self.cfg.threads)
        return ThreadPoolExecutor(self.cfg.threads)

    def run(self) -> None:
        try:
            for _ in range(self.cfg.threads):
                self.tpool.submit(self._serve)
            super().run()
        finally:
            self.end_threads()

    def end_threads(self) -> None:
        """Tell all threads that there is nothing more to do."""
        self.is_over = True
        self.turnstile.open_for_good()
        self.readiness.wake_all_for_good()
        # Also one whose start was interrupted, which its pool does not know.
        for pool in (self.tpool, *(lane.pool for lane in self.lanes.all)):
            pool.shutdown(wait=False)

    # In the threads

    def _serve(self) -> None:
        self.turnstile.enter()
        while not self.is_over:
            self.turnstile.pass_through()
            conn = None
            try:
                conn, is_surplus = self._take_next()
                if conn is not None:
                    self.line.taken += 1
                    self._attend(conn, is_surplus=is_surplus)
            except BaseException:  # the thread must go on
                self.log.exception("A connection is lost.")
                if conn is not None:
                    self.leave(conn, is_kept=False)

    def _take_next(self) -> tuple[Any, bool]:
        """Return a connection that has sent something, if one has, and whether there are too many of them."""
        if found := self.line.take_surplus(free=1):
            return found[1], True
        me = threading.get_ident()
        # Before the look at the line: who adds to it wakes those that are free.
        self.free_threads.add(me)
        try:
            found = self.line.take()
            conn = found[1] if found else self._claim_next()
        finally:
            self.free_threads.discard(me)
        if not self.free_threads and not self.is_watching:
            self.is_watching = True
            # Whatever it is: it wakes the main loop.
            self.method_queue.defer(self.notify)
        return conn, found is not None and time.monotonic() - found[0] > self.max_queue_seconds

    def _claim_next(self) -> Any:
        fd = self.readiness.wait()
        return None if fd is None else self.claim(fd)

    def _attend(self, conn: Any, *, is_surplus: bool = False) -> None:
        """Deal with what has come on a connection: serve it, refuse it, or wait for the rest of it."""
        if (arrived := self._read(conn)) is None:
            return
        lane = self.lanes.find_hashing(arrived) or (self.lanes.find_probe(arrived) if is_surplus else None)
        if lane is not None:
            self.method_queue.defer(self._enter_lane, conn, lane)
        else:
            self.leave(conn, is_kept=self.turn_away(conn, self.line.count()) if is_surplus else self.handle(conn))

    def _read(self, conn: Any) -> bytes | None:
        """Return what a thread can go to work with; else let the connection rest, or go."""
        unreader = conn.parser.unreader
        try:
            arrived: bytes = unreader.read_arrived()
        except OSError:
            self.leave(conn, is_kept=False)
            return None
        if not arrived:
            self.rest(conn, conn.home, conn.timeout)
            return None
        if is_complete(arrived) or unreader.is_at_end or not unreader.may_wait:
            return arrived
        self.rest(conn, self.partial, unreader.rest_is_due())
        return None

    def leave(self, conn: Any, *, is_kept: bool) -> None:
        if is_kept and conn.parser.unreader.buf.tell():
            # The next request came with this one: the kernel has nothing more to tell of.
            conn.parser.unreader.may_wait = True
            self._line_up(conn)
        else:
            super().leave(conn, is_kept=is_kept)

    def expire(self, conn: Any) -> None:
        if conn.home is self.partial:
            # It gets its answer, that it was too slow.
            conn.parser.unreader.may_wait = False
            self._line_up(conn)
        else:
            super().expire(conn)

    def _line_up(self, conn: Any) -> None:
        self.line.unread.append((time.monotonic(), conn))
        if self.free_threads:
            self.readiness.wake()

    # Lanes, in the main loop

    def _enter_lane(self, conn: Any, lane: Lane) -> None:
        if lane.in_hand < lane.threads:
            self._submit(conn, lane)
            return
        lane.waiting.append((time.monotonic(), conn))
        if lane.note_surplus() > 0:
            newest = lane.waiting.pop()[1]
            self.leave(newest, is_kept=self.turn_away(newest, lane.count()))

    def _submit(self, conn: Any, lane: Lane) -> None:
        lane.in_hand += 1
        lane.pool.submit(self._serve_in, lane, conn)

    def _serve_in(self, lane: Lane, conn: Any) -> None:
        is_kept = False
        try:
            is_kept = self.handle(conn)
        except BaseException:  # as above
            self.log.exception("A connection is lost.")
        self.method_queue.defer(self._leave_lane, lane)
        self.leave(conn, is_kept=is_kept)

    def _leave_lane(self, lane: Lane) -> None:
        lane.in_hand -= 1
        if lane.waiting:
            self._submit(lane.waiting.popleft()[1], lane)

    # Those who wait, in the main loop

    def wait_for_and_dispatch_events(self, timeout: float | None) -> None:
        lanes = [lane for lane in self.lanes.all if lane.waiting]
        rarely = 1.0 if self.alive and not (lanes or self.partial or self.silent) else EXPIRY_SECONDS
        super().wait_for_and_dispatch_events(min(timeout or 0.0, WATCH_SECONDS if self.is_watching else rarely))
        if self.is_watching:
            self._watch()
        for lane in lanes:
            self._thin_out(lane)

    def _watch(self) -> None:
        """See who waits; if no thread has taken anything since the last time, do their work as far as it can't wait."""
        line = self.line
        self.is_watching = False
        if self.free_threads and not line.count():
            self.turnstile.open()
            return
        self.is_watching = True
        if self.free_threads:
            self.readiness.wake()
            return
        now = time.monotonic()
        for fd, has_left in self.readiness.look(MAX_SEEN_AT_ONCE):
            if (conn := self.claim(fd)) is None:
                continue
            # Who has left waits for nothing, and must not count among those who do.
            if not has_left or self._read(conn) is not None:
                line.unread.append((now, conn))
        line.look_around()
        is_stuck = self._is_stuck(now)
        if not is_stuck:
            self.turnstile.adjust()
        elif self.turnstile.open():
            return
        self._read_those_who_wait(0.0 if is_stuck else SUSPECT_SECONDS)
        if is_stuck:
            while found := line.take_surplus():
                self._attend(found[1], is_surplus=True)
        self._thin_out(line)

    def _is_stuck(self, now: float) -> bool:
        """Whether no thread has taken anything since a while ago."""
        if now - self.taken_at < STUCK_SECONDS:
            return False
        before, self.taken_before, self.taken_at = self.taken_before, self.line.taken, now
        return before == self.taken_before

    def _read_those_who_wait(self, seconds: float) -> None:
        """Send on the probes among those who have waited for so long; the others wait on."""
        line, until = self.line, time.monotonic() + WATCH_SECONDS
        while line.unread and time.monotonic() < until:
            try:
                since, conn = line.unread.popleft()
            except IndexError:
                return
            if time.monotonic() - since < seconds:
                line.unread.appendleft((since, conn))
                return
            if (arrived := self._read(conn)) is None:
                continue
            if lane := self.lanes.find_probe(arrived) or self.lanes.find_hashing(arrived):
                self._enter_lane(conn, lane)
            else:
                line.waiting.append((since, conn))

    def _thin_out(self, line: Any) -> None:
        """Turn away who has waited too long, and who is too many in a storm."""
        while line.has_overdue(self.max_queue_seconds) or (line is not self.line and line.surplus() > 0):
            try:
                conn = line.waiting.popleft()[1]
            except IndexError:
                return
            self.leave(conn, is_kept=self.turn_away(conn, line.count()))
