"""Who of the waiting gets a thread: all in turn, probes before others, and nobody who has waited too long.

Owns the way of a request from the poller to a thread. Must not know what is in it beyond its target.
"""

from __future__ import annotations

import math
import re
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ClassVar

from gunicorn.workers.gthread import TConn, ThreadWorker

from app import metrics
from app.wire import END_OF_HEAD

HAS_BODY = re.compile(rb"\r\n(?:content-length|transfer-encoding)[ \t:]", re.IGNORECASE)
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,6})[ \t]*\r\n", re.IGNORECASE)
# The answer that touches nothing has a thread that nothing can hold up; the others may wait for a database.
PROBE_THREADS = {"/health": 1, "/health/ready": 2, "/metrics": 1}
# What hashes a password keeps a core busy for as long as hundreds of reads: one at a time in each worker, however many
# come at once. The rest wait here, and hold no thread that a read could have.
HASHING = ("/api/v1/auth/login", "/api/v1/auth/register", "/api/v1/auth/password")
HASHING_THREADS = 1
SHED_LOG_SECONDS = 5.0
BURST_SECONDS = 0.1
CALM_SECONDS = 1.0


def _is_whole(arrived: bytes) -> bool:
    """Whether these bytes are a request with all of its body, whose length it tells."""
    head, end, body = arrived.partition(END_OF_HEAD)
    length = CONTENT_LENGTH.search(head + b"\r\n")
    return bool(end) and length is not None and len(body) == int(length[1])


class Lane:
    """Threads for one kind of request, and the requests they have in hand or before them.

    As many may wait as a burst brings. Where more keep coming than can be served, a long queue helps nobody: each
    request would wait in all of it. There, until the storm is over, but as many wait as there are threads.

    The main loop alone touches it, and hands out one request for each free thread. Were the threads to
    help themselves, they would contend with it for the interpreter's lock without end, and refusals and
    probes would come last; so, threads that outrun the main loop pause until it has caught up.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.pool = ThreadPoolExecutor(threads)
        self.in_hand = 0
        self.waiting: deque[tuple[float, Any]] = deque()
        # When a request last found the queue full, and since when that goes on.
        self.overflowed_at = self.overflows_since = -math.inf

    def has_room(self, max_queued: int) -> bool:
        """Whether one more request may wait here, or need not."""
        if self.in_hand < self.threads:
            return True
        bound = min(self.threads, max_queued) if self.is_in_storm() else max_queued
        if len(self.waiting) < bound:
            return True
        now = time.monotonic()
        if now - self.overflowed_at > CALM_SECONDS:
            self.overflows_since = now
        self.overflowed_at = now
        return False

    def is_in_storm(self) -> bool:
        """Whether requests have been finding the queue full for longer than a burst lasts, and still do."""
        is_recent = time.monotonic() - self.overflowed_at <= CALM_SECONDS
        return is_recent and self.overflowed_at - self.overflows_since >= BURST_SECONDS


class LaneWorker(ThreadWorker):
    """gunicorn's threaded worker with a bound on how many requests wait for a thread, and for how long."""

    max_queued: ClassVar[int] = 128
    max_queue_seconds: ClassVar[float] = 5.0
    probe_prefix: ClassVar[str] = ""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shed = 0
        self.shed_logged_at = 0.0

    def get_thread_pool(self) -> ThreadPoolExecutor:
        self.lane = Lane(self.cfg.threads)
        probes = {path: Lane(threads) for path, threads in PROBE_THREADS.items()}
        hashing = Lane(HASHING_THREADS)
        self.lanes = [self.lane, *probes.values(), hashing]
        self.probe_lanes = {
            f"{prefix}{path}".encode(): lane for path, lane in probes.items() for prefix in ("", self.probe_prefix)
        }
        self.hashing_lanes = {f"{self.probe_prefix}{path}".encode(): hashing for path in HASHING}
        return self.lane.pool

    # Arriving

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Take the next request of a connection; if it can't even wait, answer it as cheaply as can be.

        Each system call gives the interpreter's lock away, and busy threads give it back late: so the
        connection stays with the poller.
        """
        lane = self._find_lane(conn)
        if lane is None and self._turn_away(conn):
            self.keepalived_conns.remove(conn)
            conn.set_timeout()
            self.keepalived_conns.append(conn)
            return
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        if lane is None:
            self._finish_here(conn, is_kept=False)
        else:
            self._take(conn, lane)

    def enqueue_req(self, conn: Any) -> None:
        """Take the first request of a connection, or one that came together with its predecessor."""
        lane = self._find_lane(conn)
        if lane is None:
            self._finish_here(conn, is_kept=self._turn_away(conn))
        else:
            self._take(conn, lane)

    def _find_lane(self, conn: Any) -> Lane | None:
        """Return where a request may go; None if too many wait there, or the client has gone.

        What is read here the thread need not read.
        """
        try:
            arrived = conn.parser.unreader.read_arrived()
        except OSError:
            return None
        lane = self._lane_of(arrived)
        # A head that is not whole yet can't be answered; a connection sends one at a time, so these are few.
        return lane if END_OF_HEAD not in arrived or lane.has_room(self.max_queued) else None

    def _lane_of(self, arrived: bytes) -> Lane:
        """Return the lane of a request by its method and target, if it is all here: else it might hold up a thread."""
        if arrived.startswith(b"POST "):
            hashing = self.hashing_lanes.get(arrived.split(b" ", 2)[1])
            if hashing is not None and _is_whole(arrived):
                return hashing
        elif self.lane.in_hand >= self.lane.threads and arrived.startswith((b"GET ", b"HEAD ")):
            # While there are other threads, probes need not wait for each other.
            probe = self.probe_lanes.get(arrived.split(b" ", 2)[1])
            if probe is not None and arrived.endswith(END_OF_HEAD) and not HAS_BODY.search(arrived):
                return probe
        return self.lane

    def _take(self, conn: Any, lane: Lane) -> None:
        if lane.in_hand < lane.threads:
            self._submit(conn, lane)
        else:
            lane.waiting.append((time.monotonic(), conn))

    def _submit(self, conn: Any, lane: Lane) -> None:
        lane.in_hand += 1
        future = lane.pool.submit(self.handle, conn)
        future.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done, lane))

    # Leaving

    def finish_request(self, conn: TConn, fs: Any, lane: Lane | None = None) -> None:
        if lane is not None:
            lane.in_hand -= 1
            if lane.waiting:
                self._submit(lane.waiting.popleft()[1], lane)
        super().finish_request(conn, fs)

    def _finish_here(self, conn: Any, *, is_kept: bool) -> None:
        """Do what follows an answer, for one that no thread gave."""
        answered: Future[bool] = Future()
        answered.set_result(is_kept)
        super().finish_request(conn, answered)

    def wait_for_and_dispatch_events(self, timeout: float | None) -> None:
        waits = [lane.waiting[0][0] for lane in self.lanes if lane.waiting]
        if waits and timeout is not None:
            timeout = min(timeout, max(min(waits) + self.max_queue_seconds - time.monotonic(), 0.0))
        super().wait_for_and_dispatch_events(timeout)
        if waits:
            self._turn_away_overdue()

    def _turn_away_overdue(self) -> None:
        overdue = time.monotonic() - self.max_queue_seconds
        for lane in self.lanes:
            # In a storm, those that have waited longest are worth least: their clients have given up first.
            surplus = len(lane.waiting) - lane.threads if lane.is_in_storm() else 0
            while lane.waiting and (surplus > 0 or lane.waiting[0][0] <= overdue):
                surplus -= 1
                conn = lane.waiting.popleft()[1]
                self._finish_here(conn, is_kept=self._turn_away(conn))

    def _turn_away(self, conn: Any) -> bool:
        """Answer that there is no room; return whether the connection can be kept."""
        try:
            is_kept = self.refuse_overloaded(conn)
        except OSError:
            return False
        except Exception:
            self.log.exception("Can't turn a request away.")
            return False
        metrics.SHED.inc()
        self.shed += 1
        now = time.monotonic()
        if now - self.shed_logged_at > SHED_LOG_SECONDS:
            self.log.warning("overloaded", extra={"turned_away": self.shed, "waiting": len(self.lane.waiting)})
            self.shed_logged_at = now
            self.shed = 0
        return is_kept

    def refuse_overloaded(self, conn: Any) -> bool:
        """Answer a request without a thread; return whether its connection can be kept.

        Raises OSError when the client has gone.
        """
        raise NotImplementedError
