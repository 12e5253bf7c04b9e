"""gunicorn's master: it announces the end before it begins, and gives each worker its slot.

Owns the hooks of gunicorn.conf.py. Must not know any feature.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import logging
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from gunicorn.arbiter import Arbiter
from sqlalchemy import Engine
from sqlalchemy.pool import QueuePool

from app import drain, shares
from app.observability import metrics
from app.security import passwords
from app.serve import startup_settings
from app.server import ProblemWorker

log = logging.getLogger("gatepost.server")
UNCLAIMED_SECONDS = 60


class DrainingArbiter(Arbiter):
    """A master that goes on serving for a while after SIGTERM, so that load balancers can turn away first."""

    stop_at: float | None = None

    def signal(self, sig: int, frame: Any) -> None:
        """Note a signal; the first SIGTERM shows at once, whatever the main loop is busy with."""
        now = time.monotonic()
        if sig == signal.SIGTERM and self.stop_at is None:
            self.stop_at = now + startup_settings().drain_seconds
            drain.begin()
        elif sig in (signal.SIGTERM, signal.SIGINT) and self.stop_at is not None and now < self.stop_at:
            # The operator can't wait. Later a SIGINT is gunicorn's again, and cuts requests off.
            self.stop_at = now
            sig = signal.SIGTERM
        super().signal(sig, frame)

    def wait_for_signals(self, timeout: float | None = 1.0) -> list[int]:
        """Return the signals that came, and SIGTERM once more when the wait it began is over."""
        if self.stop_at is None:
            return super().wait_for_signals(timeout)
        left = max(self.stop_at - time.monotonic(), 0.0)
        signals = super().wait_for_signals(min(timeout or 0.0, left))
        return signals if time.monotonic() < self.stop_at else [*signals, signal.SIGTERM]

    def handle_term(self) -> None:
        """Begin the graceful stop, if its time has come."""
        left = (self.stop_at or 0.0) - time.monotonic()
        if left <= 0:
            super().handle_term()
        log.info("draining", extra={"seconds": round(left, 1)})

    def kill_worker(self, pid: int, sig: int) -> None:
        """Send a worker a signal, after a mark that tells this SIGTERM from one that others sent."""
        worker = self.WORKERS.get(pid)
        if sig == signal.SIGTERM and isinstance(worker, ProblemWorker):
            worker.dismiss()
        super().kill_worker(pid, sig)


def on_starting(arbiter: Arbiter) -> None:
    """Take the master over: gunicorn has no setting for its class."""
    arbiter.__class__ = DrainingArbiter
    keep_metrics_folder(Path(os.environ[metrics.MULTIPROCESS_DIR]))
    try:
        passwords.prepare_turns(arbiter.cfg.worker_tmp_dir)
    except OSError as error:
        log.warning("Workers hash passwords without regard to each other: %s", error)


def keep_metrics_folder(folder: Path) -> None:
    """Claim the metrics' folder while master or worker lives, and remove those of masters that were killed."""
    # Never closed: forked workers hold the lock too.
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)
    prefix = folder.name.rpartition("-")[0]
    for other in folder.parent.glob(f"{prefix}-*"):
        with contextlib.suppress(OSError):
            # One so new may not have been claimed yet.
            if time.time() - other.stat().st_mtime > UNCLAIMED_SECONDS:
                _remove_unclaimed(other)


def _remove_unclaimed(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)


def pre_fork(arbiter: Arbiter, worker: ProblemWorker) -> None:
    """Give a worker to be the smallest slot that no living one has, and let its signals wait until it is born.

    It has its master's handlers until it sets its own, and those would swallow a SIGTERM: the stop would then
    wait for the whole of graceful_timeout.
    """
    taken = {other.slot for other in arbiter.WORKERS.values() if isinstance(other, ProblemWorker)}
    worker.slot = min(set(range(len(taken) + 1)) - taken)
    # What is there now stays for good. A collection in the worker would look at each object of it, and writing its
    # mark there copy the page that until then all processes shared.
    gc.freeze()
    signal.pthread_sigmask(signal.SIG_BLOCK, worker.SIGNALS)


def _let_signals_through() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, ProblemWorker.SIGNALS)


# The master goes on as before; the worker lets them through in init_signals.
os.register_at_fork(after_in_parent=_let_signals_through)


def post_fork(arbiter: Arbiter, worker: ProblemWorker) -> None:
    """Begin a worker's life: its own numbers, and no connection that its siblings have too."""
    metrics.use_slot(worker.slot)
    passwords.hash_in_turn(worker.slot, worker.cfg.workers)
    application: Any = worker.app.wsgi()
    if isinstance(application, Flask):
        for engine in _engines_of(application):
            pool = engine.pool
            if isinstance(pool, QueuePool) and pool.checkedin() + pool.checkedout():
                log.error("A database connection was opened before the fork.")
            engine.dispose(close=False)


def _engines_of(application: Flask) -> list[Engine]:
    engines = [thing for thing in application.extensions.values() if isinstance(thing, Engine)]
    with application.app_context():
        for extension in application.extensions.values():
            if isinstance(extension, SQLAlchemy):
                engines += extension.engines.values()
    return engines


def child_exit(arbiter: Arbiter, worker: ProblemWorker) -> None:
    """Forget what a worker that has ended had in hand."""
    metrics.release_slot(worker.slot)
    shares.withdraw(worker.slot)
