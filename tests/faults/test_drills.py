"""Short forms of all drills, with the aims they must meet; and the checker, which must notice what it is there for.

The long forms, and their figures, are in docs/reliability.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from sqlalchemy import Engine, text

from gatepost.testing.races import Arena
from gatepost.testing.services import ServiceMissing, skip_or_fail
from gatepost.testing.services.gatepost import GatepostServer
from tests.conftest import ROOT, migrate
from tests.faults.drill import Poller, Writer, body_of, check
from tests.faults.drills import application, postgres, surroundings
from tests.faults.drills.__main__ import DRILLS
from tests.faults.drills.stage import Figures, Stage, engine_of

# Guards against hanging, five times what is promised: `make drills` measures the promised times.
DEADLINE_SECONDS, READY_WITHIN_SECONDS, SUCCESS_WITHIN_SECONDS = 10.0, 10.0, 15.0
UNAVAILABLE = "503 database_unavailable"
HELD = {"409 idempotency_in_progress"}
FINE, REFUSED, CUT = {"2xx"}, {"2xx", UNAVAILABLE}, {"2xx", "cut", "refused", UNAVAILABLE}

Run = Callable[[Stage], Figures]
# The responses that writers may get in each drill.
EXPECTED: dict[Run, set[str]] = {
    **dict.fromkeys(postgres.DRILLS, REFUSED),
    # A transaction that was cut off holds its key until PostgreSQL ends it.
    postgres.refused: REFUSED | HELD,
    postgres.swallowed: REFUSED | HELD,
    postgres.failover: REFUSED,
    application.workers_killed: CUT,
    application.sqlite_killed: CUT,
    application.reloaded: FINE,
    application.rolled: FINE,
    # Connections that no worker has accepted yet are reset when the last worker ends.
    application.terminated: {"2xx", "refused", "cut"},
    **dict.fromkeys(surroundings.DRILLS, FINE),
    surroundings.sqlite_disk_full: REFUSED,
    surroundings.postgres_disk_full: REFUSED,
}
UNREADY = (postgres.killed, postgres.frozen, postgres.refused, postgres.swallowed, postgres.failover)
NOT_UNREADY = (postgres.locked, postgres.pool_exhausted, *surroundings.DRILLS, application.reloaded)
REDIS = (surroundings.redis_stopped, surroundings.redis_frozen, surroundings.redis_full)
OWN_DEATH = (application.workers_killed, application.sqlite_killed, application.terminated)
# A restart may be over before a writer notices it. Every other drill must fail a request, or it has tested nothing.
FELT = (
    *(*UNREADY, postgres.terminated, postgres.locked, postgres.pool_exhausted, postgres.commit_answer_lost),
    *(surroundings.sqlite_disk_full, surroundings.postgres_disk_full),
)
# Faults that last so short a time that only a service under full load has requests in flight when they occur.
BUSY = (
    *(postgres.terminated, application.workers_killed, application.sqlite_killed, application.reloaded),
    application.terminated,
)
PAUSE_SECONDS = 0.05


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage(is_long=False) as stage:
        yield stage


@pytest.mark.slow
@pytest.mark.parametrize("run", DRILLS.values(), ids=DRILLS)
def test_drill(stage: Stage, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # Otherwise they would keep every core busy, also while a drill only waits.
    monkeypatch.setattr(Poller, "pause_seconds", PAUSE_SECONDS)
    monkeypatch.setattr(Writer, "pause_seconds", 0 if run in BUSY else PAUSE_SECONDS)
    try:
        figures = run(stage)
    except ServiceMissing as missing:
        skip_or_fail(missing)
    assert_kept(figures)
    assert set(figures.labels) <= EXPECTED[run], figures.labels
    assert (UNAVAILABLE in figures.labels) or run not in FELT
    assert_in_time(figures)
    # The unready time of a stopped server is without end: nothing answers the probe.
    assert run is application.terminated or (figures.unready or 0) < READY_WITHIN_SECONDS
    assert (figures.unready is not None) or run not in UNREADY
    # On a busy machine a probe can take more than the second that it allows the database.
    ready = figures.ready_labels
    assert ready["200"] > ready.total() / 2 or run not in NOT_UNREADY, ready
    assert set(figures.health) == {"200"} or run in OWN_DEATH, figures.health
    assert "ok, unavailable" in figures.remark or run not in REDIS
    assert figures.remark.startswith("0 failed from 5 s") or run is not postgres.failover, figures.remark


def assert_kept(figures: Figures) -> None:
    """Check that nothing was lost, half done or done twice, nor a bug met."""
    verdict = figures.verdict
    assert verdict.acknowledged > 0
    assert (verdict.lost, verdict.half_done, verdict.doubled, figures.surprises) == ([], [], [], 0)


def assert_in_time(figures: Figures) -> None:
    """Check that neither a client nor a probe waited without end."""
    assert figures.slowest < DEADLINE_SECONDS
    assert figures.slowest_probe < DEADLINE_SECONDS
    assert (figures.ready or 0) < READY_WITHIN_SECONDS
    assert (figures.first_success or 0) < SUCCESS_WITHIN_SECONDS


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    url = f"sqlite:///{tmp_path / 'gatepost.db'}"
    migrate(url)
    return engine_of(url)


@pytest.fixture
def writer(engine: Engine, tmp_path: Path) -> Iterator[Writer]:
    """A writer whose journal has the acknowledgements of a post, of a change to it and of an account."""
    member = Arena(cast("GatepostServer", None), engine).join()
    writer = Writer("w", 0, member, tmp_path / "w")
    try:
        write_post(engine, member.id, 1, "w-1")
        with engine.begin() as connection:
            connection.execute(text(COPY_ACCOUNT))
            connection.execute(text(SESSION))
        (tmp_path / "w").write_text("post w-1 1 0\npost w-1 1 1\naccount w-20\n")
        yield writer
    finally:
        writer.close()


COPY_ACCOUNT = """INSERT INTO users (email, email_key, name, name_key, bio, role, password_hash, created_at, updated_at)
    SELECT 'w-20@example.com', 'w-20@example.com', 'w-20', 'w-20', bio, role, password_hash, created_at, updated_at
    FROM users"""
SESSION = """INSERT INTO sessions
    (user_id, generation, created_at, rotated_at, last_used_at, expires_at, idle_expires_at, user_agent, ip)
    SELECT id, 1, created_at, created_at, created_at, created_at, created_at, '', '' FROM users WHERE name = 'w-20'"""
POST = """INSERT INTO posts (id, author_id, title, content, status, created_at, updated_at)
    SELECT :id, id, :title, :content, 'published', created_at, created_at FROM users WHERE id = :user"""
COPY_POST = """INSERT INTO posts (author_id, title, content, status, created_at, updated_at)
    SELECT author_id, title, content, status, created_at, updated_at FROM posts"""
KEY = """INSERT INTO idempotency_keys (user_id, key, fingerprint, status, location, etag, body, created_at)
    SELECT id, :key, '', 201, :location, '', '', created_at FROM users WHERE id = :user"""


def write_post(engine: Engine, user: int, post_id: int, key: str) -> None:
    """What two acknowledged requests leave in the database."""
    with engine.begin() as connection:
        connection.execute(text(POST), {"id": post_id, "user": user, **body_of(f"{key} v1")})
        location = {"key": key, "location": f"/api/v1/posts/{post_id}", "user": user}
        connection.execute(text(KEY), location)


def faults(engine: Engine, writer: Writer, tmp_path: Path) -> tuple[int, int, int]:
    verdict = check(engine, [writer], tmp_path)
    assert verdict.acknowledged == 3
    return len(verdict.lost), len(verdict.half_done), len(verdict.doubled)


def test_the_checker_finds_nothing_where_all_is_there(engine: Engine, writer: Writer, tmp_path: Path) -> None:
    assert faults(engine, writer, tmp_path) == (0, 0, 0)


@pytest.mark.parametrize(
    ("tampering", "found"),
    [
        ("DELETE FROM posts", (1, 1, 0)),
        ("UPDATE posts SET title = 'w-1 v0'", (1, 1, 0)),
        ("UPDATE posts SET title = 'w-1 v2'", (0, 1, 0)),
        ("UPDATE posts SET content = substr(content, 1, 2000)", (0, 1, 0)),
        ("DELETE FROM idempotency_keys", (0, 1, 0)),
        ("DELETE FROM sessions", (0, 1, 0)),
        ("DELETE FROM users WHERE name = 'w-20'", (1, 0, 0)),
        (COPY_POST, (0, 1, 1)),
    ],
)
def test_the_checker_notices(
    engine: Engine, writer: Writer, tmp_path: Path, tampering: str, found: tuple[int, int, int]
) -> None:
    with engine.begin() as connection:
        connection.execute(text("PRAGMA foreign_keys = ON"))
        connection.execute(text(tampering))
    assert faults(engine, writer, tmp_path) == found


def test_the_page_has_a_line_for_every_drill() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    lines = [line for line in page.splitlines() if re.match(r"\| [^|]+ \| (PostgreSQL|SQLite) \|", line)]
    assert len(lines) == len(DRILLS)
