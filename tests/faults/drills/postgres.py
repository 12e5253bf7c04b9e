"""Faults of PostgreSQL: killed, restarted, frozen, unreachable, locked, out of connections."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack

from sqlalchemy import text

from gatepost.testing.races import Arena
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import migrate
from tests.faults.drills.stage import NOTICED_SECONDS, Drill, Figures, Stage, engine_of
from tests.faults.outage import held
from tests.faults.relay import Relay

NAME = "PostgreSQL"
TERMINATE = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'gatepost'"
LOCK = "LOCK TABLE posts IN ACCESS EXCLUSIVE MODE"
# The time between two faults, and an outage that is long enough for the probes to notice it.
WORK_SECONDS, OUTAGE_SECONDS = 0.3, 2.2
# From then on, no write may fail after a failover.
SWITCHED_SECONDS = 5.0


def killed(stage: Stage) -> Figures:
    """SIGKILL the postmaster; at some times wait before the restart."""
    times = stage.pick(2, 30)
    with Drill(stage.server, stage.engine) as drill:
        for count in range(times):
            with drill.outage():
                stage.postgres.kill()
                # Every tenth outage is long enough for the probes to notice it.
                time.sleep(OUTAGE_SECONDS if count % 10 == 0 else 0)
                stage.postgres.start()
            time.sleep(WORK_SECONDS)
    return drill.figures("killed -9", NAME, f"{times} times, then started")


def _restarted(stage: Stage, mode: str) -> Figures:
    times = stage.pick(1, 10)
    with Drill(stage.server, stage.engine) as drill:
        for _ in range(times):
            with drill.outage():
                stage.postgres.stop(immediate=mode == "immediate")
                stage.postgres.start()
            time.sleep(WORK_SECONDS)
    return drill.figures(f"restarted, {mode}", NAME, f"{times} times, as by pg_ctl -m {mode}")


def restarted_fast(stage: Stage) -> Figures:
    """Restart in fast mode."""
    return _restarted(stage, "fast")


def restarted_immediate(stage: Stage) -> Figures:
    """Restart in immediate mode, without a checkpoint."""
    return _restarted(stage, "immediate")


def _outage(
    stage: Stage, name: str, begin: Callable[[], None], end: Callable[[], None], *, firewall: str = ""
) -> Figures:
    """Begin a fault, and end it after some seconds."""
    seconds = stage.pick(NOTICED_SECONDS, 10)
    with Drill(stage.relayed if firewall else stage.server, stage.engine) as drill:
        time.sleep(WORK_SECONDS)
        with drill.outage():
            try:
                begin()
                time.sleep(seconds)
            finally:
                end()
        time.sleep(WORK_SECONDS)
    return drill.figures(name, NAME, f"for {seconds:g} s{firewall}")


def frozen(stage: Stage) -> Figures:
    """SIGSTOP every process of the server."""
    return _outage(stage, "frozen", stage.postgres.freeze, stage.postgres.thaw)


def refused(stage: Stage) -> Figures:
    """Reject all packets to the server."""
    wall = stage.firewall
    return _outage(stage, "refused", wall.refuse, wall.open, firewall=f", by {wall.name}")


def swallowed(stage: Stage) -> Figures:
    """Drop all packets to and from the server."""
    wall = stage.firewall
    return _outage(stage, "black-holed", wall.swallow, wall.open, firewall=f", by {wall.name}")


def terminated(stage: Stage) -> Figures:
    """Terminate all connections of the application repeatedly."""
    seconds = stage.pick(1.5, 10)
    with Drill(stage.server, stage.engine) as drill:
        ends, count = time.monotonic() + seconds, 0
        while time.monotonic() < ends:
            with stage.engine.connect() as connection:
                count += connection.execute(text(TERMINATE)).scalar_one()
            time.sleep(0.2)
        drill.begin_fault()
        drill.end_fault()
    done = f"every 200 ms for {seconds:g} s: {count} in all"
    return drill.figures("connections terminated", NAME, done)


def locked(stage: Stage) -> Figures:
    """Hold a lock that conflicts with all reads and writes of posts."""
    seconds = stage.pick(1.5, 10)
    arena = Arena(stage.server, stage.engine)
    with Drill(stage.server, stage.engine) as drill:
        with held(arena, LOCK):
            time.sleep(seconds)
        drill.begin_fault()
        drill.end_fault()
    return drill.figures("locked", NAME, f"all posts, by another's transaction for {seconds:g} s")


def pool_exhausted(stage: Stage) -> Figures:
    """Give each worker one connection, and block it with a lock."""
    seconds = stage.pick(1.5, 10)
    with (
        stage.lend(stage.url, DB_POOL_SIZE="1") as server,
        Drill(server, stage.engine, writers=8) as drill,
    ):
        with held(Arena(server, stage.engine), LOCK):
            time.sleep(seconds)
        drill.begin_fault()
        drill.end_fault()
    return drill.figures("pool exhausted", NAME, f"one connection a worker, held up for {seconds:g} s; 8 writers")


def commit_answer_lost(stage: Stage) -> Figures:
    """Close the connection before the response to COMMIT, so that the outcome is unknown and clients retry."""
    times, before = stage.pick(10, 100), stage.relay.lost_answers
    with Drill(stage.relayed, stage.engine) as drill:
        for _ in range(times):
            stage.relay.lose_commits(1)
            time.sleep(0.15)
        drill.begin_fault()
        drill.end_fault()
    lost = stage.relay.lost_answers - before
    return drill.figures("commit's answer lost", NAME, f"{lost} times", remark=f"{lost} of {times}")


def failover(stage: Stage) -> Figures:
    """Promote a standby; the address leads to the former primary, now a standby itself, for some time longer.

    Connections that were opened in between stay open, and lead to the former primary for ever.
    """
    seconds = stage.pick(1.5, 10)
    with ExitStack() as stack:
        first = stack.enter_context(PostgresServer(durable=True))
        url = first.create_database("gatepost")
        migrate(url)
        second = stack.enter_context(PostgresServer(durable=True, primary=first))
        relay = stack.enter_context(Relay(first.port))
        address = url.replace(f":{first.port}/", f":{relay.port}/")
        server = stack.enter_context(stage.lend(address))
        with Drill(server, engine_of(address)) as drill:
            time.sleep(WORK_SECONDS)
            with drill.outage():
                # A clean shutdown sends everything to the standby first.
                first.stop()
                second.promote()
                first.follow(second)
                first.start()
                time.sleep(seconds)
                relay.switch(second.port)
                switched_at = time.monotonic()
            time.sleep(max(0, switched_at + SWITCHED_SECONDS + seconds - time.monotonic()))
        late = [o for o in drill.outcomes if o.began > switched_at + SWITCHED_SECONDS and not o.succeeded]
        remark = f"{len(late)} failed from {SWITCHED_SECONDS:g} s after the switch"
        return drill.figures("failover", NAME, f"the address leads to a standby for {seconds:g} s", remark)


DRILLS = (
    killed,
    restarted_fast,
    restarted_immediate,
    frozen,
    refused,
    swallowed,
    terminated,
    locked,
    pool_exhausted,
    commit_answer_lost,
    failover,
)
