"""Alembic's entry: migrates the database of the running application's settings."""

from __future__ import annotations

import click
from alembic import context
from alembic.util import CommandError
from sqlalchemy import Connection, create_engine, event, pool, text
from sqlalchemy.exc import OperationalError

from app.components import components
from app.database import Base
from app.observability.health import compare_schema
from app.settings import Settings

# One migration at a time: replicas that start together wait here for the first. Any constant will do.
ADVISORY_LOCK = 4_702_111_234
NEWEST = ("head", "heads")


def run_offline(url: str) -> None:
    """Write the SQL of a migration instead of running it."""
    context.configure(
        url=url,
        target_metadata=Base.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()


def run_online(connection: Connection) -> None:
    """Migrate over `connection`, all of it in one transaction."""
    is_sqlite = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        compare_server_default=True,
        # SQLite can't alter a constraint: Alembic copies the table instead.
        render_as_batch=is_sqlite,
        transaction_per_migration=False,
        # Alembic thinks that SQLite can't, and would commit after each step: two that migrate at once would meet.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        if not is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        if is_ahead():
            click.echo("The database is ahead of this code: nothing to do.")
            return
        context.run_migrations()


def is_ahead() -> bool:
    """Whether a later version has migrated the database that is to be brought up to this one.

    That is how it is after a step back to old code, which runs on it (docs/decisions/0008-upgrades.md). Whoever
    names a revision, goes down or stamps still hears that the code does not know the database's.
    """
    migration = context.get_context()
    if migration.opts.get("destination_rev") not in NEWEST:
        return False
    return compare_schema(set(migration.get_current_heads())) == "ahead"


def migrate() -> None:
    """Migrate on a connection of its own, without the deadlines that hold requests."""
    settings: Settings = components().settings
    if context.is_offline_mode():
        run_offline(settings.database_url)
        return
    engine = create_engine(settings.database_url, poolclass=pool.NullPool)
    if settings.uses_sqlite:
        event.listen(
            engine,
            "connect",
            lambda connection, record: setattr(connection, "isolation_level", None),
        )
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with engine.connect() as connection:
            run_online(connection)
    except OperationalError as error:
        # Flask-Migrate prints this as one sentence; a password can't be in it, as it can be in the URL.
        raise CommandError(f"the database does not answer: {error.orig}") from error


migrate()
