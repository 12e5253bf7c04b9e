"""The readiness check: whether the database answers in time and has the schema that this code needs."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.components import components, components_of
from app.database.deadlines import deadline
from app.database.engine import (
    autocommit_view,
    engine_options,
    install_engine_events,
    postgres_arguments,
)
from app.database.errors import is_table_missing
from app.database.migrations import known_revisions, newest_revisions
from app.settings import Settings

# /health/ready answers within one second; the rest of it is for the response.
PROBE_SECONDS = 0.7
SQLITE_PROBE_SECONDS = 0.35
# States of `database`, `migrations` and `redis` that need no action by an operator.
HEALTHY_STATES = ("ok", "ahead")
_MAINTENANCE = text("SELECT maintenance FROM service_context")


def init_app(app: Flask, settings: Settings) -> None:
    """Create the engine of the readiness check.

    The check has its own connections. If it used the application's pool, a replica whose pool is busy would be
    reported as not ready, and its load would move to the other replicas.
    """
    components_of(app).probe_engine = _probe_engine(settings)


def _probe_engine(settings: Settings) -> Engine:
    # Unlimited overflow: concurrent checks never wait for each other's connection, which would add up their times.
    options = engine_options(settings) | {"pool_size": 1, "max_overflow": -1}
    if settings.uses_sqlite:
        # SQLite applies the timeout twice: when it opens the file and when it reads.
        options["connect_args"] = {"timeout": SQLITE_PROBE_SECONDS}
    else:
        milliseconds = int(PROBE_SECONDS * 1000)
        options["connect_args"] = postgres_arguments(
            connect_seconds=PROBE_SECONDS, statement_ms=milliseconds, lock_ms=milliseconds
        )
    engine = create_engine(settings.database_url, **options)
    install_engine_events(engine, settings)
    return autocommit_view(engine)


def check_readiness() -> dict[str, Any]:
    """Return the document of /health/ready.

    `status` is "ready" or "unready", `database` "ok" or "unavailable", `migrations` "ok", "ahead", "pending" or
    "unknown". A schema that is ahead of the code is ready (docs/decisions/0008-upgrades.md). `maintenance` and
    `redis`, which is present only if REDIS_URL is set, do not affect `status`.
    """
    started = time.monotonic()
    # Redis first, because its check is the shorter one: the database check may use the time that is left.
    redis = components().rate_limits.redis_state()
    found = _check_database(PROBE_SECONDS - (time.monotonic() - started))
    is_ready = found["database"] in HEALTHY_STATES and found["migrations"] in HEALTHY_STATES
    found["status"] = "ready" if is_ready else "unready"
    return found if redis is None else found | {"redis": redis}


def _check_database(seconds: float) -> dict[str, Any]:
    engine = components().probe_engine
    try:
        with deadline(seconds), engine.connect() as connection:
            applied = set(connection.scalars(text("SELECT version_num FROM alembic_version")))
            migrations = compare_schema(applied)
            maintenance = migrations in HEALTHY_STATES and bool(connection.scalar(_MAINTENANCE))
    except SQLAlchemyError as error:
        # If only Alembic's version table is missing, the database answers but has no schema yet.
        database = "ok" if is_table_missing(error) else "unavailable"
        return {"database": database, "migrations": "unknown", "maintenance": False}
    return {"database": "ok", "migrations": migrations, "maintenance": maintenance}


def compare_schema(applied: set[str]) -> str:
    """Compare the Alembic revisions of a database with those of the code.

    Returns "ok" if they are equal, "pending" if migrations have yet to run, "ahead" if the database has a revision
    that this code does not know.
    """
    if applied == newest_revisions():
        return "ok"
    return "pending" if applied <= known_revisions() else "ahead"
