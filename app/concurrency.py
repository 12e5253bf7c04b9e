"""How many threads serve at once: as many as keep one processor busy, for the interpreter's lock lets no more.

Threads beyond that only take turns: with four where two would do, a busy worker serves a sixth less. But where they
wait for a slow database, there can't be too many. So all of them serve until the process is short of time on a
processor, and again as soon as it is not.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

# Thread-seconds a second, on a processor or waiting for one: over the first, half as many threads serve; under the
# second, one more.
ENOUGH = 0.9
TOO_LITTLE = 0.7
LOOK_SECONDS, RECENT_SECONDS = 0.02, 0.2
# Where Linux tells of a process's threads; elsewhere the whole process's time on a processor has to do.
TASKS = Path("/proc/self/task")


class Turnstile:
    """Lets so many of some threads serve; the others rest inside of it."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.allowed = threads
        self._serving = threads
        self._lock = threading.Lock()
        self._resting = threading.Semaphore(0)
        self._tasks: list[Path] = []
        self._looked_at = 0.0
        self._used = 0.0

    def enter(self) -> None:
        """Count the time of the calling thread; that of others, such as the one that hashes, is not asked for."""
        self._tasks.append(TASKS / str(threading.get_native_id()) / "schedstat")

    def pass_through(self) -> None:
        """Return when the thread may serve, usually at once. Each of the threads calls this over and over."""
        if self._serving <= self.allowed:
            return
        with self._lock:
            if self._serving <= self.allowed:
                return
            self._serving -= 1
        self._resting.acquire()

    def open(self, allowed: int | None = None) -> bool:
        """Let so many threads serve, or all; return whether any rested."""
        with self._lock:
            self.allowed = allowed or self.threads
            called = max(self.allowed - self._serving, 0)
            self._serving += called
        for _ in range(called):
            self._resting.release()
        return called > 0

    def open_for_good(self) -> None:
        """Let everyone through from now on, whatever was going on."""
        self.allowed = self.threads
        self._resting.release(self.threads)

    def adjust(self) -> None:
        """See how the process fares while requests wait; called many times a second."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_SECONDS:
            return
        used = _seconds_wanted(self._tasks)
        share = (used - self._used) / (now - self._looked_at)
        is_recent = now - self._looked_at < RECENT_SECONDS
        self._looked_at, self._used = now, used
        if not is_recent:
            return
        if share > ENOUGH and self.allowed > 1:
            self.open(self.allowed // 2)
        elif share < TOO_LITTLE and self.allowed < self.threads:
            self.open(self.allowed + 1)


def _seconds_wanted(tasks: list[Path]) -> float:
    """How long these threads have been on a processor, or waiting for one."""
    nanoseconds = 0
    for path in tasks:
        try:
            on, waiting, _ = path.read_bytes().split()
            nanoseconds += int(on) + int(waiting)
        except (OSError, ValueError):
            continue
    return nanoseconds / 1e9 or time.process_time()
