"""Whether this process may be sent requests: the database answers in time, and its schema is the code's."""

from __future__ import annotations

from functools import cache
from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory
from flask import Flask, current_app
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from app.engine import engine_options, install_engine_events, postgres_arguments
from app.settings import Settings

PROBE_SECONDS = 0.9
PROBE_ENGINE = "gatepost.probe"


def init_app(app: Flask, settings: Settings) -> None:
    """Give the probe a connection of its own: a pool that is busy is no reason to send the load elsewhere."""
    app.extensions[PROBE_ENGINE] = _probe_engine(settings)


def _probe_engine(settings: Settings) -> Engine:
    options = engine_options(settings) | {
        "pool_size": 1,
        "max_overflow": 0,
        "pool_timeout": PROBE_SECONDS,
    }
    if not settings.uses_sqlite:
        options["connect_args"] = postgres_arguments(
            connect_seconds=PROBE_SECONDS,
            statement_ms=int(PROBE_SECONDS * 1000),
            lock_ms=int(PROBE_SECONDS * 1000),
        )
    engine = create_engine(settings.database_url, **options)
    install_engine_events(engine, settings)
    if not settings.uses_sqlite:
        event.listen(engine, "connect", _shorten_deadline)
    return engine.execution_options(isolation_level="AUTOCOMMIT")


def _shorten_deadline(connection: Any, record: Any) -> None:
    connection.wait_seconds = PROBE_SECONDS


def find_unreadiness() -> dict[str, str]:
    """Return what was found: `database` is "ok" or "unavailable"; `migrations` "ok", "pending" or "unknown"."""
    engine: Engine = current_app.extensions[PROBE_ENGINE]
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            database = "ok"
            applied = set(connection.scalars(text("SELECT version_num FROM alembic_version")))
    except SQLAlchemyError:
        # Without the version table the database answers and has no schema.
        return {"database": locals().get("database", "unavailable"), "migrations": "unknown"}
    return {"database": "ok", "migrations": "ok" if applied == _heads() else "pending"}


@cache
def _heads() -> frozenset[str]:
    from app.ops import MIGRATIONS

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return frozenset(ScriptDirectory.from_config(config).get_heads())
