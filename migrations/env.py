"""Alembic's environment: runs the migrations on the database of the application's settings."""

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

# The key of an advisory lock. Replicas that start together migrate one after the other. The number is arbitrary.
ADVISORY_LOCK = 4_702_111_234
NEWEST = ("head", "heads")


def run_offline(url: str) -> None:
    """Print the SQL of the migrations instead of running it (`flask db upgrade --sql`)."""
    context.configure(
        url=url,
        target_metadata=Base.metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
    )
    with context.begin_transaction():
        context.run_migrations()


def run_online(connection: Connection) -> None:
    """Run the migrations on `connection`, all in one transaction."""
    is_sqlite = connection.dialect.name == "sqlite"
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        compare_type=True,
        compare_server_default=True,
        # SQLite cannot alter a constraint; Alembic copies the table instead ("batch" mode).
        render_as_batch=is_sqlite,
        transaction_per_migration=False,
        # Alembic assumes that SQLite has no transactional DDL, and would commit after each step.
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
    """Return whether an upgrade to the newest revision was requested and the schema is newer than that.

    This is the case after a rollback to an older version of the code, which can run on the newer schema
    (docs/decisions/0008-upgrades.md). For other commands Alembic reports that it does not know the revision.
    """
    migration = context.get_context()
    if migration.opts.get("destination_rev") not in NEWEST:
        return False
    return compare_schema(set(migration.get_current_heads())) == "ahead"


def migrate() -> None:
    """Migrate on a separate connection, without the timeouts of requests: a migration may take long."""
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
        # Flask-Migrate prints the message only. The driver's message contains no password, unlike the URL.
        raise CommandError(f"cannot connect to the database: {error.orig}") from error


migrate()
