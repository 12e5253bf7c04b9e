"""How requests come to threads: each thread asks the kernel for the next one when it has answered one.

gunicorn's main loop hands every request to a thread and hears of its end, which costs more than to parse it. What it
does here while no thread is free is in app/watching.py. Must not know what a request or its answer says.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from app.concurrency import Turnstile
from app.lanes import Lane, Lanes, SharedLine, is_complete
from app.refusing import RefusingWorker

MAX_SEEN_AT_ONCE = 1024


class ServingWorker(RefusingWorker):
    """gunicorn's threaded worker, whose threads serve themselves."""

    max_queued: ClassVar[int] = 128
    max_queue_seconds: ClassVar[float] = 5.0
    probe_prefix: ClassVar[str] = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.free_threads: set[int] = set()
        # Whether the main loop looks who waits, as no thread is free.
        self.is_watching = self.is_over = False

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
                    self.attend(conn, is_surplus=is_surplus)
            except BaseException:  # the thread must go on
                self.log.exception("A connection is lost.")
                if conn is not None:
                    self.leave(conn, is_kept=False)

    def _take_next(self) -> tuple[Any, bool]:
        """Return a connection that has sent something, if one has, and whether there are too many of them."""
        if found := self.line.take_surplus(free=1 + len(self.free_threads)):
            return found[1], True
        me = threading.get_ident()
        if self.line.is_in_storm():
            # Who comes last is served, so all that is known has to be of now.
            self.line_up_readable()
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

    def line_up_readable(self) -> None:
        """Add to the line whoever the kernel knows to have sent something; wake who is free for them."""
        now = time.monotonic()
        for fd, has_left in self.readiness.look(MAX_SEEN_AT_ONCE):
            if (conn := self.claim(fd)) is None:
                continue
            # Who has left waits for nothing, and must not count among those who do.
            if not has_left or self.read(conn) is not None:
                self.line.unread.append((now, conn))
        # For nobody, those who are woken in a storm would do the same, and wake each other without end.
        if self.free_threads and self.line.count():
            self.readiness.wake()

    def _claim_next(self) -> Any:
        fd = self.readiness.wait()
        return None if fd is None else self.claim(fd)

    def attend(self, conn: Any, *, is_surplus: bool = False) -> None:
        """Deal with what has come on a connection: serve it, refuse it, or wait for the rest of it."""
        if (arrived := self.read(conn)) is None:
            return
        lane = self.lanes.find_hashing(arrived) or (self.lanes.find_probe(arrived) if is_surplus else None)
        if lane is not None:
            self.method_queue.defer(self.enter_lane, conn, lane)
        else:
            self.leave(conn, is_kept=self.turn_away(conn, self.line.count()) if is_surplus else self.handle(conn))

    def read(self, conn: Any) -> bytes | None:
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

    def enter_lane(self, conn: Any, lane: Lane) -> None:
        """Let the lane's threads serve a connection, if there is room before them."""
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
