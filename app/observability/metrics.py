"""The numbers the service keeps of itself, merged over all workers (Prometheus).

Owns names, labels and buckets, and where the workers' shares lie. Features count; this defines.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
    values,
)

# gunicorn.conf.py names the folder before anything imports this module.
MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)
_slot = "main"


def _current_slot() -> str:
    return _slot


def use_slot(slot: int) -> None:
    """Make this process count in the files of a worker's slot.

    A slot outlives its worker: the next one goes on counting there, so that recycling workers adds no files.
    """
    global _slot
    _slot = str(slot)


def release_slot(slot: int) -> None:
    """Forget what a worker that has ended had in hand; what it counted stays."""
    if MULTIPROCESS_DIR in os.environ:
        multiprocess.mark_process_dead(slot)  # type: ignore[no-untyped-call]


disable_created_metrics()  # type: ignore[no-untyped-call]
if MULTIPROCESS_DIR in os.environ:
    values.ValueClass = values.MultiProcessValue(_current_slot)  # type: ignore[no-untyped-call]

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
# Found anew at each scrape, by the worker that answers it: whatever another one has found is older.
READY = Gauge("gatepost_ready", "Whether /health/ready is 200.", multiprocess_mode="mostrecent")
PARTS = Gauge("gatepost_part_healthy", "What readiness looks at, by part.", ["part"], multiprocess_mode="mostrecent")
MAINTENANCE = Gauge("gatepost_maintenance", "Whether the service is in maintenance.", multiprocess_mode="mostrecent")


def begin_at_zero(counter: Counter, values: Iterable[str]) -> None:
    """Tell of these values of a counter's only label before they are first counted.

    The first one would otherwise be no increase to Prometheus, which has seen no number before it; and a sum of
    series that are not there is not zero, but nothing, to which no alert compares.
    """
    for value in values:
        counter.labels(value)


def render() -> bytes:
    """Return the numbers of all workers in Prometheus' text format."""
    if MULTIPROCESS_DIR not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


_children: dict[tuple[str, str, int], tuple[Any, Any]] = {}


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answer. `route` is the template, never the path, so that there are few of them."""
    key = (method, route, status)
    child = _children.get(key)
    if child is None:
        child = _children[key] = (REQUESTS.labels(method, route, str(status)), DURATION.labels(method, route))
    child[0].inc()
    child[1].observe(seconds)
