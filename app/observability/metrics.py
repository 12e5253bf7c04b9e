"""The Prometheus metrics of the service, merged over all worker processes.

This module defines the metrics; the code that increments them is in the feature or package concerned.

With one worker process the metrics are in memory. With several, the server must set PROMETHEUS_MULTIPROC_DIR to an
empty folder before it imports the application: each process then writes its values to files there
(https://prometheus.github.io/client_python/multiprocess/).
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
    multiprocess,
)

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)

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
SHED = Counter(
    "gatepost_requests_shed_total",
    "Requests refused as overloaded: they waited too long, or too many waited for a password hash.",
)
PROBLEMS = Counter("gatepost_problems_total", "Problems answered, by code.", ["code"])
# Each scrape sets these anew in the worker that answers it, so the most recent value is the valid one.
READY = Gauge("gatepost_ready", "Whether /health/ready is 200.", multiprocess_mode="livemostrecent")
COMPONENTS = Gauge(
    "gatepost_component_healthy",
    "Result of a readiness check, by component.",
    ["component"],
    multiprocess_mode="livemostrecent",
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
    return generate_latest(registry)


def forget_process(pid: int) -> None:
    """Remove the gauges of a worker process that has ended; what it counted is kept."""
    multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]
