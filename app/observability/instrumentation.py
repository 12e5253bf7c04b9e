"""Counts every request and every statement: for the log line, for the metrics, for the database's own logs.

Looks at readiness for the metrics too: an alert must come where nobody asks the probe, and where nobody asks anything.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask, Request, g, has_request_context
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import Pool

from app.api.errors import KINDS
from app.components import components_of
from app.database import db
from app.database.executor import Executor
from app.observability import health as probes
from app.observability import metrics
from app.security.rate_limits import LimitName
from app.settings import Settings

KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Statements(threading.local):
    """What this thread has asked of the database since its request began."""

    count = 0
    seconds = 0.0
    started = 0.0


statements = Statements()


def init_app(app: Flask, settings: Settings) -> None:
    """Measure requests and statements of this application."""
    _begin_at_zero()
    with app.app_context():
        _watch_statements(db.engine, components_of(app).executor, tag=not settings.uses_sqlite)
        _watch_pool(db.engine.pool, settings.db_pool_size)


@contextmanager
def in_flight() -> Iterator[None]:
    """Count a request as being answered, and its statements from none."""
    statements.count, statements.seconds = 0, 0.0
    metrics.IN_FLIGHT.inc()
    try:
        yield
    finally:
        metrics.IN_FLIGHT.dec()


def count(request: Request, status: int, seconds: float, problem: str | None) -> None:
    """Count an answer, and the code of the problem that it tells of."""
    method = request.method if request.method in KNOWN_METHODS else "other"
    route = request.url_rule.rule if request.url_rule else "none"
    metrics.count_request(method, route, status, seconds)
    if problem:
        metrics.PROBLEMS.labels(problem).inc()


def _begin_at_zero() -> None:
    metrics.begin_at_zero(metrics.PROBLEMS, KINDS)
    metrics.begin_at_zero(metrics.LIMITS_HIT, LimitName)
    metrics.begin_at_zero(metrics.LOGINS, ("succeeded", "failed"))
    metrics.begin_at_zero(metrics.REFRESHES, ("rotated", "grace", "replay", "revoked"))


def measure_readiness() -> None:
    """Set what the readiness probe would say now."""
    found = probes.find_readiness()
    metrics.READY.set(found["status"] == "ready")
    metrics.MAINTENANCE.set(found["maintenance"])
    for part in ("database", "migrations", "redis"):
        if part in found:
            metrics.PARTS.labels(part).set(found[part] in probes.WELL)


def _watch_statements(engine: Engine, executor: Executor, *, tag: bool) -> None:
    def begin(statement: str) -> str:
        statements.started = time.perf_counter()
        if tag and has_request_context():
            # PostgreSQL shows it in pg_stat_activity and in its log; the id's alphabet can't end a comment.
            return f"{statement} /* request_id={g.get('request_id', '')} */"
        return statement

    def before(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> tuple[str, Any]:
        return begin(statement), parameters

    def after(*_: Any) -> None:
        statements.count += 1
        statements.seconds += time.perf_counter() - statements.started

    def fail(context: ExceptionContext) -> None:
        # What failed is where the time went. A connection that can't be had is no statement.
        if context.statement is not None:
            after()

    executor.before, executor.after = begin, after
    event.listen(engine, "before_cursor_execute", before, retval=True)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", fail)


def _watch_pool(pool: Pool, size: int) -> None:
    # In each worker: the pool is made before the fork, its first connection after.
    event.listen(pool, "first_connect", lambda *_: metrics.POOL_SIZE.set(size))
    event.listen(pool, "checkout", lambda *_: metrics.POOL_IN_USE.inc())
    event.listen(pool, "checkin", lambda *_: metrics.POOL_IN_USE.dec())
