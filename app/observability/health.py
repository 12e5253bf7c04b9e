"""Whether this process may be sent requests: the database answers in time, and its schema is the code's."""

from __future__ import annotations

import time
from typing import Any

from flask import Flask
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from app import drain
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

# The whole answer is promised within a second.
PROBE_SECONDS = 0.7
SQLITE_PROBE_SECONDS = 0.35
# What `database`, `migrations` and `redis` say when nothing has to be done about them.
WELL = ("ok", "ahead")
_MAINTENANCE = text("SELECT maintenance FROM service_context")


def init_app(app: Flask, settings: Settings) -> None:
    """Give the probe connections of its own: a pool that is busy is no reason to send the load elsewhere."""
    components_of(app).probe_engine = _probe_engine(settings)


def _probe_engine(settings: Settings) -> Engine:
    # No probe waits for another one: that would add up.
    options = engine_options(settings) | {"pool_size": 1, "max_overflow": -1}
    if settings.uses_sqlite:
        # It may wait twice: to open the file, and to read it.
        options["connect_args"] = {"timeout": SQLITE_PROBE_SECONDS}
    else:
        milliseconds = int(PROBE_SECONDS * 1000)
        options["connect_args"] = postgres_arguments(
            connect_seconds=PROBE_SECONDS, statement_ms=milliseconds, lock_ms=milliseconds
        )
    engine = create_engine(settings.database_url, **options)
    install_engine_events(engine, settings)
    return autocommit_view(engine)


def find_readiness() -> dict[str, Any]:
    """Return what /health/ready tells: `status`, what makes it, and what is only for the operator to know.

    `database` is "ok" or "unavailable"; `migrations` is "ok", "ahead", "pending" or "unknown". Behind the code the
    schema is no good to it; ahead of it, it is (docs/decisions/0008-upgrades.md).
    """
    started = time.monotonic()
    limits = components().rate_limits
    # The quicker one first: the database may take what is left.
    redis = limits.redis_state()
    found = _ask_database(PROBE_SECONDS - (time.monotonic() - started))
    is_ready = found["database"] in WELL and found["migrations"] in WELL
    found["status"] = "draining" if drain.is_draining() else "ready" if is_ready else "unready"
    return found if redis is None else found | {"redis": redis}


def _ask_database(seconds: float) -> dict[str, Any]:
    engine = components().probe_engine
    try:
        with deadline(seconds), engine.connect() as connection:
            applied = set(connection.scalars(text("SELECT version_num FROM alembic_version")))
            migrations = compare_schema(applied)
            closed = migrations in WELL and bool(connection.scalar(_MAINTENANCE))
    except SQLAlchemyError as error:
        # Without the version table the database answers and has no schema.
        database = "ok" if is_table_missing(error) else "unavailable"
        return {"database": database, "migrations": "unknown", "maintenance": False}
    return {"database": "ok", "migrations": migrations, "maintenance": closed}


def compare_schema(applied: set[str]) -> str:
    """Whether a schema with these revisions is the code's ("ok"), older ("pending") or newer ("ahead")."""
    if applied == newest_revisions():
        return "ok"
    return "pending" if applied <= known_revisions() else "ahead"
