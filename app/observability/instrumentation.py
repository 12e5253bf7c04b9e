"""Counts requests, SQL statements and database connections, for the metrics and the request log.

On PostgreSQL it also appends the request id to each statement as a comment, so that the database's log shows it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from flask import Flask, Request, g, has_request_context
from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import Pool

from app.api.access import Caller
from app.api.errors import PROBLEMS
from app.components import components_of
from app.database import db
from app.database.executor import Executor
from app.observability import health, metrics
from app.security.rate_limits import LimitName
from app.settings import Settings

REFRESH_OUTCOMES = ("rotated", "grace", "limited", "unconfirmed", "replay", "revoked", "unknown")
KNOWN_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class Statements:
    """The SQL statements that one request has executed: their number and total time."""

    count: int = 0
    seconds: float = 0.0
    started: float = 0.0


class Current(threading.local):
    """The statements of the request that the current thread works for."""

    def __init__(self) -> None:
        self.statements = Statements()


current = Current()


@dataclass(slots=True)
class RespondedRequest:
    """A request and its response, for the metrics and the log."""

    request: Request
    status: int
    request_id: str
    # The code of the problem document in the response, if it is one.
    problem: str | None
    caller: Caller | None
    ip: str
    seconds: float = 0.0
    # The size of the body, without a transfer coding. Not complete: the body failed, or the client did not read all.
    bytes_out: int = 0
    is_complete: bool = True
    statements: Statements = field(default_factory=Statements)


def init_app(app: Flask, settings: Settings) -> None:
    """Create the series that alerts read, and listen to the engine and the connection pool of the application."""
    metrics.initialize_labels(metrics.PROBLEMS, PROBLEMS)
    metrics.initialize_labels(metrics.LIMITS_HIT, LimitName)
    metrics.initialize_labels(metrics.LOGINS, ("succeeded", "failed"))
    metrics.initialize_labels(metrics.REFRESHES, REFRESH_OUTCOMES)
    with app.app_context():
        _listen_to_statements(db.engine, components_of(app).executor, add_request_id=not settings.uses_sqlite)
        _listen_to_pool(db.engine.pool, settings.db_pool_size)


def count(response: RespondedRequest) -> None:
    """Count a response and its duration.

    The route is counted by its URL template, and unknown methods as "other", to limit the number of series.
    """
    request = response.request
    method = request.method if request.method in KNOWN_METHODS else "other"
    route = request.url_rule.rule if request.url_rule else "none"
    metrics.REQUESTS.labels(method, route, str(response.status)).inc()
    metrics.DURATION.labels(method, route).observe(response.seconds)
    if response.problem:
        metrics.PROBLEMS.labels(response.problem).inc()


def measure_readiness() -> None:
    """Run the readiness check and set its metrics.

    Done at each scrape, so that alerts work without a load balancer that calls /health/ready, and without traffic.
    """
    found = health.check_readiness()
    metrics.READY.set(found["status"] == "ready")
    metrics.MAINTENANCE.set(found["maintenance"])
    for component in ("database", "migrations", "redis"):
        if component in found:
            metrics.COMPONENTS.labels(component).set(found[component] in health.HEALTHY_STATES)


def _listen_to_statements(engine: Engine, executor: Executor, *, add_request_id: bool) -> None:
    def begin(statement: str) -> str:
        current.statements.started = time.perf_counter()
        if add_request_id and has_request_context():
            # The characters allowed in a request id can't end a comment.
            return f"{statement} /* request_id={g.get('request_id', '')} */"
        return statement

    def before(conn: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> tuple[str, Any]:
        return begin(statement), parameters

    def after(*_: Any) -> None:
        statements = current.statements
        statements.count += 1
        statements.seconds += time.perf_counter() - statements.started

    def fail(context: ExceptionContext) -> None:
        # A failed statement counts with its time. A failure to get a connection has no statement.
        if context.statement is not None:
            after()

    executor.before, executor.after = begin, after
    event.listen(engine, "before_cursor_execute", before, retval=True)
    event.listen(engine, "after_cursor_execute", after)
    event.listen(engine, "handle_error", fail)


def _listen_to_pool(pool: Pool, size: int) -> None:
    # The size is set at the first connection, because the pool is created before the server forks its workers, and
    # the metric counts the connections of each worker.
    event.listen(pool, "first_connect", lambda *_: metrics.POOL_SIZE.set(size))
    event.listen(pool, "checkout", lambda *_: metrics.POOL_IN_USE.inc())
    event.listen(pool, "checkin", lambda *_: metrics.POOL_IN_USE.dec())
