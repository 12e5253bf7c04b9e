"""The Prometheus metrics of the service, merged over all worker processes.

This module defines the metrics; the code that increments them is in the feature or package concerned.

With one worker process the metrics are in memory. With several, the server must set PROMETHEUS_MULTIPROC_DIR to an
empty folder before it imports the application: each process then writes its values to files there
(https://prometheus.github.io/client_python/multiprocess/).
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)
from prometheus_client.mmap_dict import MmapedDict

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
# The files of a process, such as counter_123.db and gauge_livesum_123.db.
_PROCESS_FILE = re.compile(r"(?P<kind>\w+)_(?P<pid>\d+)\.db")

disable_created_metrics()  # type: ignore[no-untyped-call]

REQUESTS = Counter("gatepost_requests_total", "Requests answered.", ["method", "route", "status"])
DURATION = Histogram(
    "gatepost_request_duration_seconds", "Time to answer a request.", ["method", "route"], buckets=_BUCKETS
)
IN_FLIGHT = Gauge("gatepost_requests_in_flight", "Requests being answered.", multiprocess_mode="livesum")
POOL_SIZE = Gauge("gatepost_db_pool_size", "Database connections allowed.", multiprocess_mode="livesum")
POOL_IN_USE = Gauge("gatepost_db_pool_in_use", "Database connections in use.", multiprocess_mode="livesum")
POOL_WAITS = Counter("gatepost_db_pool_waits_total", "Times a request waited for a database connection.")
LOGINS = Counter("gatepost_logins_total", "Logins by outcome.", ["outcome"])
REFRESHES = Counter("gatepost_refreshes_total", "Refreshes by outcome; 'replay' ends a session.", ["outcome"])
LIMITS_HIT = Counter("gatepost_rate_limits_hit_total", "Requests refused by a rate limit.", ["limit"])
SHED = Counter("gatepost_requests_shed_total", "Requests refused because too many waited.")
PROBLEMS = Counter("gatepost_problems_total", "Problems answered, by code.", ["code"])
# Each scrape sets these anew in the worker that answers it, so the most recent value is the valid one.
READY = Gauge("gatepost_ready", "Whether /health/ready is 200.", multiprocess_mode="livemostrecent")
PARTS = Gauge(
    "gatepost_part_healthy", "Result of a readiness check, by part.", ["part"], multiprocess_mode="livemostrecent"
)
MAINTENANCE = Gauge(
    "gatepost_maintenance", "Whether the service is in maintenance.", multiprocess_mode="livemostrecent"
)


def initialize_labels(counter: Counter, values: Iterable[str]) -> None:
    """Create the series of these values of a counter's only label, with the value 0.

    Without it, a series would appear with the value 1. Prometheus can't compute an increase from that, and an
    alert that compares with the sum of series that do not exist never fires.
    """
    for value in values:
        counter.labels(value)


def render() -> bytes:
    """Return the metrics of all workers in Prometheus' text format."""
    folder = os.environ.get(MULTIPROCESS_DIR)
    if not folder:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    with _locked(folder):
        _merge_dead_processes(Path(folder))
        return generate_latest(registry)


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold an exclusive lock: no worker may read the files while another one moves values between them."""
    with (Path(folder) / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _merge_dead_processes(folder: Path) -> None:
    """Add the counters of ended processes to one file per type, and remove the files of these processes.

    So the counters of a worker that was replaced are kept, its gauges are not, and the number of files stays bounded
    however often workers are replaced. Works with any server, because it needs no hook at the end of a worker.
    """
    for path in folder.glob("*.db"):
        match = _PROCESS_FILE.fullmatch(path.name)
        if match is None or _is_running(int(match["pid"])):
            continue
        # A process that was killed while it created a file leaves it empty.
        if not match["kind"].startswith("gauge") and path.stat().st_size:
            _add_values(path, folder / f"{match['kind']}_ended.db")
        path.unlink(missing_ok=True)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _add_values(source: Path, target: Path) -> None:
    """Add the values of one of prometheus_client's files to those of another."""
    total = MmapedDict(str(target))  # type: ignore[no-untyped-call]
    try:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(str(source)):  # type: ignore[no-untyped-call]
            total.write_value(key, total.read_value(key)[0] + value, 0.0)  # type: ignore[no-untyped-call]
    finally:
        total.close()  # type: ignore[no-untyped-call]
