"""The commands `flask features`: which features are switched on, and the removal of what a feature stores."""

from __future__ import annotations

import click
import flask_migrate
from sqlalchemy import func, inspect, select, text

from app.cli import OperatorGroup, align
from app.components import components
from app.database import db
from app.database.migrations import Line, core_line, line_of, run_on
from app.features import Feature
from app.settings.environment import InvalidValue
from app.settings.features import find_feature

features = OperatorGroup("features", help="Show the features, and remove what a feature stores.")


@features.command("list")
def list_features() -> None:
    """List the features that are switched on, with their tables and the state of their migrations."""
    rows = [("FEATURE", "TABLES", "MIGRATIONS")]
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for feature in components().features:
            line = line_of(feature) or core_line()
            tables = ", ".join(sorted(table.__tablename__ for table in feature.tables)) or "-"
            rows.append((feature.name, tables, line.state(line.applied(connection))))
    click.echo(align(rows))


@features.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Delete the data.")
def drop(name: str, yes: bool) -> None:
    """Delete the tables of a feature with all their rows. NAME is that of the feature or of its package.

    Remove the feature from FEATURES first and restart the service, because its routes fail without the tables.
    """
    feature = _find(name)
    line = line_of(feature)
    if line is None:
        raise click.ClickException(f"The feature {feature.name} has no migrations of its own.")
    counts = _count_rows(feature)
    if not counts:
        raise click.ClickException(f"The feature {feature.name} has no tables in this database.")
    shown = ", ".join(f"{table} ({count} row{'s' * (count != 1)})" for table, count in counts.items())
    if not yes:
        raise click.ClickException(f"This would delete {shown}. Repeat the command with --yes to delete them.")
    run_on(line, lambda: flask_migrate.downgrade(revision="base"))
    _drop_version_table(line)
    click.echo(f"Deleted {shown}.")
    if feature in components().features:
        click.echo("The feature is switched on, and its routes fail now: remove it from FEATURES.")


def _find(name: str) -> Feature:
    """Return a feature that is switched on, by its name, or any feature by its package."""
    for feature in components().features:
        if feature.name == name:
            return feature
    try:
        return find_feature(name)
    except InvalidValue as error:
        text = f"No feature {name} is switched on. For one that is off, give its package, such as shop.{name}."
        raise click.ClickException(text) from error


def _count_rows(feature: Feature) -> dict[str, int]:
    with db.engine.connect() as connection:
        existing = set(inspect(connection).get_table_names())
        return {
            model.__tablename__: connection.scalar(select(func.count()).select_from(model)) or 0
            for model in feature.tables
            if model.__tablename__ in existing
        }


def _drop_version_table(line: Line) -> None:
    with db.engine.begin() as connection:
        connection.execute(text(f"DROP TABLE IF EXISTS {line.version_table}"))
