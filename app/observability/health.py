"""The readiness check: whether the database answers in time, takes writes, and has the schema that this code needs."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

from flask import Flask
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from app.components import components, components_of
from app.database.deadlines import deadline
from app.database.engine import autocommit_view, connect_arguments, engine_options, install_engine_events
from app.database.errors import FAULTS, READ_ONLY, describe_fault, is_misconfigured, is_table_missing
from app.database.migrations import core_line, feature_lines
from app.settings import Settings

# /health/ready answers within one second; the rest of it is for the response.
PROBE_SECONDS = 0.7
SQLITE_PROBE_SECONDS = 0.35
# States of `database`, `migrations` and `redis` that need no action by an operator.
HEALTHY_STATES = ("ok", "ahead")
# The states of migration lines, the one that is reported if several lines differ first.
MIGRATION_STATES = ("pending", "ahead", "ok")
log = logging.getLogger("gatepost.health")
_MAINTENANCE = text("SELECT maintenance FROM service_context")
_STATE = {
    "sqlite": text("SELECT version_num, false AS is_read_only, NULL AS forbidden FROM alembic_version"),
    # A standby is read-only too. `forbidden` names the tables that the role may not read or change, and the sequences
    # of their ids that it may not use. Tables that do not exist yet do not count.
    "postgresql": text("""
        WITH wanted AS (SELECT name, to_regclass(name) AS id FROM unnest(CAST(:tables AS text[])) AS name),
        forbidden AS (
            SELECT name FROM wanted
            WHERE NOT (has_any_column_privilege(id, 'SELECT') AND has_any_column_privilege(id, 'INSERT')
                AND has_any_column_privilege(id, 'UPDATE') AND has_table_privilege(id, 'DELETE'))
            UNION ALL
            SELECT sequence.relname FROM wanted
            JOIN pg_depend ON refclassid = to_regclass('pg_class') AND refobjid = id AND deptype = 'a'
            JOIN pg_class AS sequence ON sequence.oid = objid
            WHERE CASE relkind WHEN 'S' THEN NOT has_sequence_privilege(objid, 'USAGE, UPDATE') ELSE false END
        )
        SELECT version_num, current_setting('transaction_read_only') = 'on' AS is_read_only,
            (SELECT string_agg(name, ', ') FROM forbidden) AS forbidden
        FROM alembic_version
        """),
}


def init_app(app: Flask, settings: Settings) -> None:
    """Create the engine of the readiness check.

    The check has its own connections. If it used the application's pool, a replica whose pool is busy would be
    reported as not ready, and its load would move to the other replicas.
    """
    # Unlimited overflow: concurrent checks never wait for each other's connection, which would add up their times.
    options = engine_options(settings) | {"pool_size": 1, "max_overflow": -1}
    milliseconds = int(PROBE_SECONDS * 1000)
    # SQLite applies the timeout twice: when it opens the file and when it reads.
    lock_ms = int(SQLITE_PROBE_SECONDS * 1000) if settings.uses_sqlite else milliseconds
    options["connect_args"] = connect_arguments(
        settings, connect_seconds=PROBE_SECONDS, statement_ms=milliseconds, lock_ms=lock_ms
    )
    engine = create_engine(settings.database_url, **options)
    install_engine_events(engine, settings)
    components_of(app).probe_engine = autocommit_view(engine)


def check_readiness() -> dict[str, Any]:
    """Return the document of /health/ready.

    `status` is "ready" or "unready", `database` "ok", "unavailable", "read_only" or "misconfigured", `migrations` "ok",
    "ahead", "pending" or "unknown". A schema that is ahead of the code is ready (docs/decisions/0008-upgrades.md).
    `maintenance` and `redis`, which is present only if REDIS_URL is set, do not affect `status`. Logs the reason when
    the state of the database changes.
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
            database, reason, applied = _read_state(connection)
            states = {core_line().state(applied), *(line.state(line.applied(connection)) for line in feature_lines())}
            migrations = next(state for state in MIGRATION_STATES if state in states)
            maintenance = migrations in HEALTHY_STATES and bool(connection.scalar(_MAINTENANCE))
            if database == "read_only":
                # After a failover, a new connection may lead to the new primary.
                connection.invalidate()
    except SQLAlchemyError as error:
        # If only Alembic's version table is missing, the database answers but has no schema yet.
        database = "ok" if is_table_missing(error) else "misconfigured" if is_misconfigured(error) else "unavailable"
        reason, migrations, maintenance = describe_fault(error), "unknown", False
    _log_change(database, reason)
    return {"database": database, "migrations": migrations, "maintenance": maintenance}


def _read_state(connection: Connection) -> tuple[str, str | None, set[str]]:
    """Return the state of the database, its reason if it is not "ok", and the revisions that were applied."""
    dialect = connection.dialect.name
    parameters = {"tables": sorted(components().tables)} if dialect == "postgresql" else {}
    rows = connection.execute(_STATE[dialect], parameters).all()
    applied = {row.version_num for row in rows}
    if any(row.is_read_only for row in rows) or (dialect == "sqlite" and not _is_writable(connection)):
        return "read_only", f"{FAULTS[READ_ONLY]}.", applied
    forbidden = rows[0].forbidden if rows else None
    if forbidden:
        return "misconfigured", f"The role of DATABASE_URL lacks the right to read or change: {forbidden}.", applied
    return "ok", None, applied


def _is_writable(connection: Connection) -> bool:
    """Return whether the file of SQLite and its folder, where the write-ahead log is, can be written."""
    path = Path(connection.engine.url.database or "")
    return all(os.access(place, os.W_OK) for place in (path, path.parent))


def _log_change(database: str, reason: str | None) -> None:
    if components().logged_database_state != database:
        components().logged_database_state = database
        level = logging.INFO if database == "ok" else logging.WARNING
        log.log(level, "database %s", database, extra={"reason": reason})
