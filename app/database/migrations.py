"""Migration lines: the core's revisions, and those of each feature with tables of its own.

A line has its own folder and its own version table, so that features are added, upgraded and dropped independently of
each other. `flask db` is Flask-Migrate's; its commands take `--feature`, and `flask db upgrade` upgrades all lines.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

import click
import flask_migrate
from alembic.config import Config
from alembic.script import ScriptDirectory
from flask import Flask, g
from flask_migrate import Migrate
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from app.components import components
from app.database.errors import is_table_missing
from app.database.models import db
from app.features import FEATURE_TABLES, Feature

_PACKAGE = Path(__file__).resolve().parents[1]
# Alembic's environment and the core's revisions: in a wheel, which must not have a top-level folder of such a name,
# they are in the package.
_IN_WHEEL = _PACKAGE / "_migrations"
MIGRATIONS = _IN_WHEEL if _IN_WHEEL.is_dir() else _PACKAGE.parent / "migrations"
CORE = "the core"
NEWEST = ("head", "heads")
_VERSIONS = "SELECT version_num FROM {}"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of migrations: the folder with its revisions, its version table, and the tables that it creates."""

    name: str
    folder: Path
    version_table: str
    tables: frozenset[str]

    def state(self, applied: set[str]) -> str:
        """Compare the applied revisions with those of this version of the code.

        Returns "ok" if they are equal, "pending" if migrations have yet to run, "ahead" if the database has a revision
        that this code does not know.
        """
        if applied == newest_revisions(self.folder):
            # A package may lack the files of its migrations.
            return "ok" if applied or not self.tables else "pending"
        return "pending" if applied <= known_revisions(self.folder) else "ahead"

    def applied(self, connection: Connection) -> set[str]:
        """Return the revisions in the version table, none if there is no such table. Raises SQLAlchemyError.

        On PostgreSQL the connection must be in autocommit, because a missing table ends a transaction.
        """
        try:
            return set(connection.scalars(text(_VERSIONS.format(self.version_table))))
        except SQLAlchemyError as error:
            if is_table_missing(error):
                return set()
            raise


def line_of(feature: Feature) -> Line | None:
    """Return the migration line of a feature, or None if it has no migrations of its own."""
    if feature.migrations is None:
        return None
    tables = frozenset(table.__tablename__ for table in feature.tables)
    return Line(feature.name, feature.migrations, f"alembic_version_{feature.name}", tables)


def core_line() -> Line:
    """Return the line of the core's tables: all those that no feature's line creates."""
    return Line(CORE, MIGRATIONS / "versions", "alembic_version", frozenset(db.metadata.tables) - FEATURE_TABLES)


def feature_lines() -> Iterator[Line]:
    """Yield the line of each feature that is switched on and has one."""
    yield from filter(None, map(line_of, components().features))


def current_line() -> Line:
    """Return the line that the running command is for."""
    line: Line | None = g.get("migration_line")
    return line or core_line()


@cache
def known_revisions(folder: Path = MIGRATIONS / "versions") -> frozenset[str]:
    """Return the revisions of all migrations in a folder."""
    return frozenset(revision.revision for revision in _scripts(folder).walk_revisions())


@cache
def newest_revisions(folder: Path = MIGRATIONS / "versions") -> frozenset[str]:
    """Return the heads, the revisions that no other one follows. There is one unless the history has branches."""
    return frozenset(_scripts(folder).get_heads())


def _scripts(folder: Path) -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS), version_locations=[str(folder)])


def init_app(app: Flask) -> None:
    """Add the `flask db` commands."""
    migrate = Migrate(app, db, directory=str(MIGRATIONS), compare_type=True, render_as_batch=True)
    # The type stubs hide that Flask-Migrate's Config derives from Alembic's.
    migrate.configure(cast("Any", _configure))
    group: click.Group = copy.copy(app.cli.commands["db"])  # type: ignore[assignment]
    group.commands = {name: _for_any_line(command) for name, command in group.commands.items()}
    upgrade = group.commands["upgrade"]
    upgrade.callback = _upgrading_all(upgrade.callback)
    upgrade.help = "Upgrade to a later revision; without one, the core and then each feature to its newest."
    app.cli.add_command(group)


def _configure(config: Config) -> Config:
    """Make Alembic use the line of the command, and format new revisions if Ruff is installed."""
    line = current_line()
    config.attributes["line"] = line
    if line.name != CORE:
        config.set_main_option("path_separator", "newline")
        config.set_main_option("version_locations", str(line.folder).replace("%", "%%"))
    if find_spec("ruff"):
        config.set_section_option("post_write_hooks", "hooks", "format")
        config.set_section_option("post_write_hooks", "format.type", "module")
        config.set_section_option("post_write_hooks", "format.module", "ruff")
        config.set_section_option("post_write_hooks", "format.options", "format --quiet REVISION_SCRIPT_FILENAME")
    return config


def _for_any_line(command: click.Command) -> click.Command:
    """Return a copy of a command of Flask-Migrate with the option --feature."""
    option = click.Option(
        ["--feature"], expose_value=False, callback=_select_line, help="Use the migrations of this feature."
    )
    command = copy.copy(command)
    command.params = [*command.params, option]
    return command


def _select_line(ctx: click.Context, parameter: click.Parameter, name: str | None) -> None:
    if name is None:
        return
    found = {line.name: line for line in feature_lines()}
    if name not in found:
        known = ", ".join(found) or "none"
        raise click.BadParameter(f"There is no feature {name} with migrations. Switched on are: {known}.")
    g.migration_line = found[name]
    ctx.call_on_close(lambda: g.pop("migration_line", None))


def _upgrading_all(upgrade: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return the callback of `flask db upgrade`, which upgrades the lines of features after the core's."""
    if upgrade is None:
        raise TypeError("Flask-Migrate's command has no callback.")

    def run(**options: Any) -> None:
        upgrade(**options)
        if "migration_line" not in g and options["revision"] in NEWEST:
            for line in feature_lines():
                run_on(line, lambda: upgrade(**options))

    return run


def run_on(line: Line, command: Callable[[], object]) -> None:
    """Run a command of Flask-Migrate on the revisions of `line`."""
    g.migration_line = line
    try:
        command()
    finally:
        g.pop("migration_line")


def upgrade_all() -> None:
    """Upgrade the core and each feature to its newest revision, as `flask db upgrade` does."""
    flask_migrate.upgrade()
    for line in feature_lines():
        run_on(line, flask_migrate.upgrade)


def next_revision(line: Line) -> str:
    """Return the number of a line's next revision, with four digits."""
    numbers = [int(revision) for revision in known_revisions(line.folder) if re.fullmatch("[0-9]{4}", revision)]
    return f"{max(numbers, default=0) + 1:04}"
