"""Signals to the processes of the application under load: SIGKILL, SIGTERM and SIGHUP."""

from __future__ import annotations

import random
import secrets
import signal
import time
from contextlib import suppress
from functools import partial

import psutil

from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.gatepost import GatepostServer
from tests.faults.drills.stage import NO_LIMITS, WRITERS, Drill, Figures, Stage, engine_of
from tests.support.services.nginx import NginxServer


def kill_worker(drill: Drill) -> None:
    """SIGKILL one of the workers."""
    with suppress(psutil.NoSuchProcess, IndexError):
        psutil.Process(random.choice(drill.server.worker_pids())).kill()


def workers_killed(stage: Stage) -> Figures:
    """SIGKILL a worker once a second."""
    times, pause = stage.pick(3, 70), stage.pick(0.5, 1.0)
    with Drill(stage.server, stage.engine) as drill:
        for _ in range(times):
            kill_worker(drill)
            time.sleep(pause)
        drill.begin_fault()
        drill.end_fault()
    return drill.figures("workers killed -9", "PostgreSQL", f"one every {pause:g} s, {times} in all")


def sqlite_killed(stage: Stage) -> Figures:
    """SIGKILL all workers at random moments; every tenth time the master too."""
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
    """Send SIGHUP repeatedly under load."""
    requests, pause, times = stage.pick(300, 10_000), stage.pick(1.5, 4), 0
    with Drill(stage.server, stage.engine) as drill:
        while len(drill.outcomes) < requests:
            stage.server.signal(signal.SIGHUP)
            times += 1
            time.sleep(pause)
        drill.begin_fault()
        drill.end_fault()
    return drill.figures("reloaded", "PostgreSQL", f"SIGHUP every {pause:g} s, {times} times")


def rolled(stage: Stage) -> Figures:
    """Send SIGHUP to two replicas behind nginx in turn, to the second one when the first has new workers.

    Half of the writers use keep-alive connections to nginx, which has keep-alive connections to the replicas.
    """
    requests, times = stage.pick(300, 10_000), 0
    environment = {"TRUSTED_PROXIES": "1", "JWT_SECRET_KEY": secrets.token_urlsafe(48)}
    with (
        stage.lend(stage.url, **environment) as one,
        stage.lend(stage.url, **environment) as two,
        NginxServer(*(f"{LOOPBACK}:{replica.port}" for replica in (one, two)), env=NO_LIMITS) as nginx,
        Drill(one, stage.engine, port=nginx.port, keeping_connections=WRITERS // 2) as drill,
    ):
        while len(drill.outcomes) < requests or times < 2:
            for replica in (one, two):
                old = set(replica.worker_pids())
                replica.signal(signal.SIGHUP)
                drill.wait(partial(_are_replaced, replica, old))
                times += 1
            time.sleep(stage.pick(0, 1))
        drill.begin_fault()
        drill.end_fault()
    done = f"two replicas behind nginx, SIGHUP to one, then the other, {times} times"
    return drill.figures("rolled", "PostgreSQL", done)


def _are_replaced(replica: GatepostServer, old: set[int]) -> bool:
    return old.isdisjoint(replica.worker_pids())


def terminated(stage: Stage) -> Figures:
    """SIGTERM under load: requests in flight must be completed."""
    times = stage.pick(1, 5)
    with stage.lend(stage.url) as server, Drill(server, stage.engine) as drill:
        for _ in range(times):
            time.sleep(stage.pick(0.3, 1))
            with drill.outage():
                server.stop()
                server.start()
    return drill.figures("SIGTERM", "PostgreSQL", f"{times} times, then started")


DRILLS = (workers_killed, sqlite_killed, reloaded, rolled, terminated)
