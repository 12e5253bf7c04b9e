"""Alembic's environment: runs the migrations on the database of the application's settings."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import click
from alembic import context
from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import MigrationScript
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, pool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import String, TypeDecorator, TypeEngine

from app.components import components
from app.database import Base, Id, UtcDateTime, postgres, sqlite
from app.database.deadlines import DeadlineExceeded
from app.database.errors import describe_fault, is_unavailable
from app.database.migrations import CORE, NEWEST, Line, known_revisions, next_revision
from app.settings import Settings

# The key of an advisory lock. Replicas that start together migrate one after the other. The number is arbitrary.
ADVISORY_LOCK = 4_702_111_234
# How long the connection to each host may take, unless connect_timeout in the URL is shorter.
CONNECT_SECONDS = 10.0
# PostgreSQL's error of a DROP whose object others depend on (dependent_objects_still_exist).
DEPENDENT_OBJECTS = "2BP01"
REFERENCED = (
    "a table that another feature uses would be dropped, so nothing was changed: {}. "
    "First run `flask db downgrade --feature NAME base` or `flask features drop` for that feature."
)
# The line of migrations that the command is for.
LINE: Line = context.config.attributes["line"]


def run_offline(url: str) -> None:
    """Print the SQL of the migrations instead of running it (`flask db upgrade --sql`)."""
    context.configure(
        url=url,
        target_metadata=Base.metadata,
        version_table=LINE.version_table,
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
        version_table=LINE.version_table,
        include_object=include_object,
        process_revision_directives=number_revision,
        compare_type=True,
        compare_server_default=True,
        render_item=render_item,
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
            about = "" if LINE.name == CORE else f" of the feature {LINE.name}"
            click.echo(f"The database is ahead of this code{about}: nothing to do.")
            return
        if LINE.tables and not known_revisions(LINE.folder) and is_upgrade():
            raise CommandError(
                f"the feature {LINE.name} has tables and no revision: write one with `flask db migrate`."
            )
        context.run_migrations()
        refuse_dangling_references(connection)


def refuse_dangling_references(connection: Connection) -> None:
    """Raise CommandError, which undoes the migration, if a table refers to one that was dropped.

    PostgreSQL refuses to drop such a table; SQLite does not. The table that refers to it belongs to another line.
    """
    inspector = inspect(connection)
    tables = set(inspector.get_table_names())
    for table in sorted(tables):
        for key in inspector.get_foreign_keys(table):
            if key["referred_table"] not in tables:
                raise CommandError(REFERENCED.format(f"{table} refers to {key['referred_table']}"))


def is_upgrade() -> bool:
    """Return whether the newest revision was requested."""
    return context.get_context().opts.get("destination_rev") in NEWEST


def is_ahead() -> bool:
    """Return whether an upgrade to the newest revision was requested and the schema is newer than that.

    This is the case after a rollback to an older version of the code, which can run on the newer schema
    (docs/decisions/0008-upgrades.md). For other commands Alembic reports that it does not know the revision.
    """
    migration = context.get_context()
    if not is_upgrade():
        return False
    return LINE.state(set(migration.get_current_heads())) == "ahead"


def include_object(item: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """Return whether a new revision is about a table: it must be one of the line's models.

    So a revision of one line never drops the tables of another one, or of a feature that is switched off. If the model
    of a table is removed, the revision that drops the table has to be written by hand.
    """
    return kind != "table" or name in LINE.tables


def number_revision(migration: MigrationContext, revision: Any, directives: list[MigrationScript]) -> None:
    """Give a new revision the next number, unless the command has --rev-id; write none if nothing has changed."""
    [script] = directives
    is_generated = getattr(context.config.cmd_opts, "autogenerate", False)
    if is_generated and script.upgrade_ops is not None and script.upgrade_ops.is_empty():
        directives.clear()
        click.echo(f"The database has the tables of {LINE.name} as they are: no revision is needed.")
    elif re.fullmatch("[0-9a-f]{12}", script.rev_id or ""):
        script.rev_id = next_revision(LINE)


def render_item(kind: str, item: Any, autogenerate: AutogenContext) -> str | Literal[False]:
    """Return the source of a column type that is not SQLAlchemy's; False leaves other items to Alembic.

    The types of app/database/models.py are written so that the migration runs on both databases. A TypeDecorator is
    written as the type that the database has, so that the migration does not depend on later versions of the
    application. Another type is imported from its module.
    """
    if kind != "type":
        return False
    if item is Id:
        return 'sa.BigInteger().with_variant(sa.Integer(), "sqlite")'
    if item is UtcDateTime:
        return "sa.DateTime(timezone=True)"
    if isinstance(item, String) and item.collation is None and "postgresql" in item._variant_mapping:
        return f'sa.String({item.length}).with_variant(sa.String({item.length}, collation="C"), "postgresql")'
    if _module_of(item).startswith("sqlalchemy."):
        return False
    if isinstance(item, TypeDecorator):
        item = item.impl_instance
        if (rendered := render_item(kind, item, autogenerate)) is not False:
            return rendered
    module = _module_of(item)
    if module.startswith("sqlalchemy.dialects."):
        dialect = module.split(".")[2]
        autogenerate.imports.add(f"from sqlalchemy.dialects import {dialect}")
        return f"{dialect}.{_source_of(item)}"
    if module.startswith("sqlalchemy."):
        return f"sa.{_source_of(item)}"
    autogenerate.imports.add(f"import {module}")
    return f"{module}.{_source_of(item)}"


def _source_of(item: TypeEngine[Any]) -> str:
    """Return the constructor's call, with the prefix "sa." before types among its arguments."""
    name, parenthesis, arguments = repr(item).partition("(")
    return name + parenthesis + re.sub(r"(?<![\w.])([A-Z]\w*\()", r"sa.\1", arguments)


def _module_of(item: TypeEngine[Any]) -> str:
    return type(item).__module__


def make_engine(settings: Settings) -> Engine:
    """Return an engine without the timeouts of requests, because a migration may take long."""
    url = make_url(settings.database_url)
    if settings.uses_sqlite:
        engine = create_engine(url, poolclass=pool.NullPool)
        event.listen(engine, "connect", lambda connection, record: setattr(connection, "isolation_level", None))
        event.listen(engine, "begin", sqlite.begin)
        return engine
    arguments = postgres.connect_arguments(url, connect_seconds=CONNECT_SECONDS)
    engine = create_engine(url, poolclass=pool.NullPool, connect_args=arguments)
    event.listen(engine, "do_connect", postgres.Connector(settings.database_password_file))
    event.listen(engine, "connect", lambda connection, record: setattr(connection, "wait_seconds", math.inf))
    return engine


def connect(engine: Engine, attempts: int) -> Connection:
    """Return a connection; each further attempt begins with another host of the URL. Raises CommandError."""
    try:
        return engine.connect()
    except DBAPIError as error:
        if attempts > 1 and isinstance(error.orig, DeadlineExceeded):
            return connect(engine, attempts - 1)
        # The driver's message contains no password, unlike the URL.
        raise CommandError(f"cannot connect to the database: {describe(error)}") from error


def describe(error: DBAPIError) -> str:
    """Return an error of the database in one line."""
    return describe_fault(error) or " ".join(str(error.orig).split())


def migrate() -> None:
    """Migrate on a separate connection. Raises CommandError, whose message Flask-Migrate prints, for what an operator
    can correct.
    """
    settings: Settings = components().settings
    if context.is_offline_mode():
        run_offline(settings.database_url)
        return
    engine = make_engine(settings)
    hosts = ",".join(engine.url.normalized_query.get("host", ("",)))
    try:
        with connect(engine, attempts=hosts.count(",") + 1) as connection:
            run_online(connection)
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) == DEPENDENT_OBJECTS:
            raise CommandError(REFERENCED.format(describe(error))) from error
        if not is_unavailable(error):
            raise
        raise CommandError(f"nothing was changed. {describe(error)}") from error


migrate()
