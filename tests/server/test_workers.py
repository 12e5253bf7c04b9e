"""What master and workers share, and what they must not: numbers, slots, connections."""

from __future__ import annotations

import fcntl
import http.client
import logging
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import psutil
import pytest
from flask import Flask
from sqlalchemy import text

from app import arbiter
from app.database import db
from app.observability import metrics
from app.security import passwords
from app.server import ProblemWorker
from tests.server.small_server import ROOT, SECRET, serving, wait_until
from tests.support.services import LOOPBACK, free_port
from tests.support.services.gunicorn import GatepostServer
from tests.support.services.process import bare_environment

FOLDER = "gatepost-metrics-"
HEALTH = re.compile(r'^gatepost_requests_total\{method="GET",route="/health",status="200"\} (\S+)$', re.MULTILINE)


def get(server: GatepostServer, path: str) -> str:
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    body = answer.read().decode()
    connection.close()
    return body


def health_count(server: GatepostServer) -> float:
    found = HEALTH.search(get(server, "/metrics"))
    return float(found[1]) if found else 0.0


def metrics_folder(server: GatepostServer) -> Path:
    """The folder whose files the master has open."""
    found = re.search(rf"(/\S*{FOLDER}\w+)/", Path(f"/proc/{server.pid}/maps").read_text())
    assert found
    return Path(found[1])


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_numbers_are_of_all_workers_and_outlive_each() -> None:
    with GatepostServer({"WEB_CONCURRENCY": "2"}) as server:
        folder = metrics_folder(server)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        before = health_count(server)
        for _ in range(30):
            get(server, "/health")
        assert health_count(server) == before + 30
        for _ in range(3):
            lived = set(server.worker_pids())
            psutil.Process(min(lived)).kill()
            wait_until(lambda lived=lived: len(set(server.worker_pids()) - lived) == 1)  # type: ignore[misc]
            get(server, "/health")
        assert health_count(server) >= before + 33
        # The request that reads them is itself in flight, and no other.
        assert "gatepost_requests_in_flight 1.0" in get(server, "/metrics")
        assert {path.stem.rpartition("_")[2] for path in folder.iterdir()} <= {"main", "0", "1"}
        lived = set(server.worker_pids())
        server.signal(signal.SIGHUP)
        wait_until(lambda: not set(server.worker_pids()) & lived)
        assert metrics_folder(server) == folder
        assert health_count(server) >= before + 33
    assert not folder.exists()


def test_start_that_fails_leaves_no_folder(tmp_path: Path) -> None:
    env = {**bare_environment(), "APP_ENV": "testing", "JWT_SECRET_KEY": SECRET, "BIND": f"{LOOPBACK}:{free_port()}"}
    # Where there is no memory to write to, it is the usual place for temporary files.
    hide = "import os; access = os.access; os.access = lambda path, mode: path != '/dev/shm' and access(path, mode)"
    config = tmp_path / "gunicorn.conf.py"
    config.write_text(f"{hide}\nimport runpy\nglobals().update(runpy.run_path({str(ROOT / 'gunicorn.conf.py')!r}))\n")
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    for extra, code in ([], 0), (["--certfile", "/etc/hostname"], 1):
        command = [sys.executable, "-m", "gunicorn", "-c", str(config), *extra, "json:loads"]
        ended = subprocess.run(
            command if extra else [*command, "--check-config"],
            cwd=ROOT, env={**env, "TMPDIR": str(temporary)}, capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert ended.returncode == code, ended.stderr
        assert list(temporary.glob(f"{FOLDER}*")) == []


def test_folders_of_killed_masters_are_removed(tmp_path: Path) -> None:
    mine, lived, killed, new = (tmp_path / f"{FOLDER}{name}" for name in ("mine", "lived", "killed", "new"))
    for folder in (mine, lived, killed, new, tmp_path / "foreign"):
        folder.mkdir()
        (folder / "counter_0.db").touch()
        if folder != new:
            os.utime(folder, (0, 0))
    holder = os.open(lived, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_SH)
    arbiter.keep_metrics_folder(mine)
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, lived.name, new.name, "foreign"}
    os.close(holder)
    arbiter.keep_metrics_folder(new)
    assert {path.name for path in tmp_path.iterdir()} == {mine.name, new.name, "foreign"}


@pytest.fixture
def own_signals() -> Iterator[None]:
    """The signals that `pre_fork` blocks, let through again: every later child would inherit the mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.usefixtures("own_signals")
def test_smallest_free_slot_is_given() -> None:
    def worker(slot: int | None = None) -> Any:
        made = object.__new__(ProblemWorker)
        if slot is not None:
            made.slot = slot
        return made

    for taken, expected in ([], 0), ([0, 1], 2), ([1, 2], 0), ([3, 0], 1):
        new = worker()
        master = SimpleNamespace(WORKERS=dict(enumerate(map(worker, taken))))
        arbiter.pre_fork(cast("Any", master), new)
        assert new.slot == expected


def test_connection_opened_before_the_fork_is_left_to_the_master(
    shared_app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(metrics, "use_slot", lambda slot: None)
    monkeypatch.setattr(logging.getLogger("gatepost"), "propagate", True)
    worker = cast(
        "Any", SimpleNamespace(slot=0, app=SimpleNamespace(wsgi=lambda: shared_app), cfg=SimpleNamespace(workers=2))
    )
    with shared_app.app_context():
        db.engine.dispose()
        connection = db.engine.connect()
        opened = connection.connection.dbapi_connection
        connection.close()
        arbiter.post_fork(cast("Any", None), worker)
        assert "opened before the fork" in caplog.text
        with db.engine.connect() as other:
            assert other.connection.dbapi_connection is not opened
            assert other.execute(text("SELECT 1")).scalar() == 1
        assert opened is not None
        opened.close()
        caplog.clear()
        db.engine.dispose()
        arbiter.post_fork(cast("Any", None), worker)
        assert caplog.text == ""


class StartingArbiter:
    """What on_starting looks at, of a class that it may change."""

    def __init__(self) -> None:
        self.cfg = SimpleNamespace(worker_tmp_dir=None)


@pytest.mark.parametrize(
    ("slot", "workers", "turn"), [(0, 1, 0), (0, 2, 0), (1, 2, 0), (1, 4, 1), (2, 4, 0), (5, 4, 1)]
)
def test_workers_are_given_turns_at_hashing(
    slot: int, workers: int, turn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "use_slot", lambda slot: None)
    monkeypatch.setattr(arbiter, "keep_metrics_folder", lambda folder: None)
    monkeypatch.setenv(metrics.MULTIPROCESS_DIR, "")
    monkeypatch.setattr(passwords, "_hashing", passwords._Hashing())
    arbiter.on_starting(cast("Any", StartingArbiter()))
    assert passwords._hashing._turns is not None
    worker = SimpleNamespace(slot=slot, app=SimpleNamespace(wsgi=object), cfg=SimpleNamespace(workers=workers))
    arbiter.post_fork(cast("Any", None), cast("Any", worker))
    assert passwords._hashing._turn == turn
    passwords._hashing._turns.close()


def test_a_worker_looks_for_garbage_seldom_enough(tmp_path: Path) -> None:
    """A request that lists many things makes thousands of objects, none of which is in a cycle."""
    found = tmp_path / "found"
    changes = f"""
    import gc
    from pathlib import Path

    def post_worker_init(worker):
        seen = gc.isenabled(), gc.get_threshold()[0] >= 2000, gc.get_freeze_count() > 0
        Path({str(found)!r}).write_text(repr(seen))
    """
    with serving(tmp_path, changes):
        assert found.read_text() == "(True, True, True)"
