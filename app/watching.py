"""What the main loop does while no thread is free: it sees who waits, and that probes and refusals come through.

Must not serve anything itself: an answer may take as long as it likes.
"""

from __future__ import annotations

import time
from typing import Any

from app.resting import EXPIRY_SECONDS
from app.serving import ServingWorker

# How often it looks; when threads that take nothing are stuck; and who waits for so long that it may be a probe.
WATCH_SECONDS, STUCK_SECONDS, SUSPECT_SECONDS = 0.005, 0.01, 0.05


class WatchingWorker(ServingWorker):
    """gunicorn's threaded worker, whose main loop is for those whom no thread has taken."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.taken_before, self.taken_at = 0, 0.0

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
        self.line_up_readable()
        line.look_around()
        is_stuck = self._is_stuck(time.monotonic())
        if not is_stuck:
            self.turnstile.adjust()
        elif self.turnstile.open():
            return
        self._read_those_who_wait(0.0 if is_stuck else SUSPECT_SECONDS)
        if is_stuck:
            while found := line.take_surplus():
                self.attend(found[1], is_surplus=True)
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
            if (arrived := self.read(conn)) is None:
                continue
            if lane := self.lanes.find_probe(arrived) or self.lanes.find_hashing(arrived):
                self.enter_lane(conn, lane)
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
