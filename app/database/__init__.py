"""Access to the database: models' base and types, queries, and the transaction of a request.

Features import from here. The engine and its timeouts are in engine.py, running statements in executor.py.
"""

from __future__ import annotations

from flask import Flask

from app.components import components_of
from app.database.engine import engine_options, install_engine_events
from app.database.errors import violates
from app.database.executor import Executor, precompiled
from app.database.models import (
    IDS_ARE_USED_ONCE,
    MAX_ID,
    Base,
    Id,
    Owned,
    Timestamps,
    UtcDateTime,
    db,
    ordered_by,
    ordered_string,
    owner,
)
from app.database.postgres import ConnectionGuard
from app.database.queries import (
    delete_rows,
    execute_autocommit,
    fetch_all,
    fetch_one,
    write,
    write_one,
    write_or_skip,
)
from app.database.transactions import in_batches, in_transaction, snapshot, transaction
from app.settings import Settings

__all__ = [
    "IDS_ARE_USED_ONCE",
    "MAX_ID",
    "Base",
    "Id",
    "Owned",
    "Timestamps",
    "UtcDateTime",
    "db",
    "delete_rows",
    "execute_autocommit",
    "fetch_all",
    "fetch_one",
    "in_batches",
    "in_transaction",
    "ordered_by",
    "ordered_string",
    "owner",
    "precompiled",
    "snapshot",
    "transaction",
    "violates",
    "write",
    "write_one",
    "write_or_skip",
]


def init_app(app: Flask, settings: Settings) -> None:
    """Configure the engine of the application. Opens no connection, because the server forks afterwards."""
    app.config["SQLALCHEMY_DATABASE_URI"] = settings.database_url
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = engine_options(settings)
    db.init_app(app)
    with app.app_context():
        executor = components_of(app).executor = Executor(db.engine)
        guard = None if settings.uses_sqlite else ConnectionGuard(settings.database_password_file)
        install_engine_events(db.engine, settings, guard)
        if guard:
            executor.on_error = guard.report
