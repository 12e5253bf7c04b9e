"""Gatepost's own processes killed, told to end and told to reload."""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress

import psutil

from tests.faults.drills.stage import Drill, Figures, Stage, engine_of


def kill_worker(drill: Drill) -> None:
    """SIGKILL one of the workers."""
    with suppress(psutil.NoSuchProcess, IndexError):
        psutil.Process(random.choice(drill.server.worker_pids())).kill()


def workers_killed(stage: Stage) -> Figures:
    """SIGKILL a worker once a second."""
    times = stage.pick(3, 70)
    with Drill(stage.server, stage.engine) as drill:
        for _ in range(times):
            kill_worker(drill)
            time.sleep(1)
        drill.fail()
        drill.mend()
    return drill.figures("workers killed -9", "PostgreSQL", f"one a second, {times} in all")


def sqlite_killed(stage: Stage) -> Figures:
    """SIGKILL every process that has the file open, at any moment; every tenth time the master with them."""
    server, times = stage.sqlite_server, stage.pick(5, 100)
    with Drill(server, engine_of(stage.sqlite_url)) as drill:
        for count in range(1, times + 1):
            time.sleep(random.uniform(0.1, 0.4))
            if count % 10 == 5:
                server.kill()
                server.start()
                continue
            with drill.outage():
                for pid in server.worker_pids():
                    psutil.Process(pid).kill()
    return drill.figures("killed -9 mid-write", "SQLite", f"all workers, {times} times")


def reloaded(stage: Stage) -> Figures:
    """SIGHUP again and again under load."""
    requests, pause, times = stage.pick(400, 10_000), stage.pick(2, 4), 0
    with Drill(stage.server, stage.engine) as drill:
        while len(drill.outcomes) < requests:
            stage.server.signal(signal.SIGHUP)
            times += 1
            time.sleep(pause)
        drill.fail()
        drill.mend()
    return drill.figures("reloaded", "PostgreSQL", f"SIGHUP every {pause} s, {times} times")


def terminated(stage: Stage) -> Figures:
    """SIGTERM under load: probes see the end two seconds ahead, what has begun is finished."""
    times = stage.pick(1, 5)
    with stage.lend(stage.url, DRAIN_SECONDS="2") as server, Drill(server, stage.engine) as drill:
        for _ in range(times):
            time.sleep(1)
            with drill.outage():
                server.stop()
                server.start()
    return drill.figures("SIGTERM", "PostgreSQL", f"{times} times, DRAIN_SECONDS=2, then started")


DRILLS = (workers_killed, sqlite_killed, reloaded, terminated)
