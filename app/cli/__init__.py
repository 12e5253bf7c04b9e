"""The base of all commands of `flask --app run`, and the commands that belong to no feature.

The features' commands import this module, so it must not import a feature.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy.exc import SQLAlchemyError

from app.api.errors import Problem, ValidationFailed
from app.components import components
from app.database.errors import describe_fault, is_unavailable

MIGRATE = "flask --app run db upgrade"


class OperatorCommand(click.Command):
    """A command that reports a refusal or an unavailable database as one message, and exits with status 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        # Other errors keep their traceback: an operator cannot resolve them.
        try:
            return super().invoke(ctx)
        except ValidationFailed as error:
            raise click.ClickException(_list_invalid_values(error)) from error
        except Problem as error:
            raise click.ClickException(error.detail) from error
        except SQLAlchemyError as error:
            message = _explain(error)
            if message is None:
                raise
            raise click.ClickException(message) from error


class OperatorGroup(AppGroup):
    """A group whose commands are OperatorCommands."""

    command_class = OperatorCommand


config = OperatorGroup("config", help="Show the settings.")


@config.command("check")
def check_config() -> None:
    """Print the settings with secrets masked, or all problems."""
    for name, value in components().settings.masked().items():
        click.echo(f"{name}={value}")


def init_app(app: Flask) -> None:
    """Add the commands that belong to no feature; each feature adds its own."""
    from app.cli.features import features

    app.cli.add_command(config)
    app.cli.add_command(features)
    # The image does not have it: it is for development.
    if find_spec("gatepost") and find_spec("gatepost.scaffold"):
        app.cli.add_command(import_module("gatepost.scaffold").scaffold)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as lines with aligned columns."""
    widths = [max(map(_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        padded = (text + " " * (width - _width(text)) for text, width in zip(row, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _width(text: str) -> int:
    """Return the number of terminal columns that `text` occupies (Unicode Standard Annex 11)."""
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) > 0 for c in text)


def _list_invalid_values(error: ValidationFailed) -> str:
    lines = [f"  {name}: {text}" for name, texts in error.errors.items() for text in texts]
    return "\n".join(["Invalid input, nothing was changed:", *lines])


def _explain(error: SQLAlchemyError) -> str | None:
    """Return why the database cannot execute a command, or None if the error is in the command itself."""
    from app.observability.health import check_readiness

    cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")
    found = check_readiness()
    if found["database"] == "unavailable":
        return f"The database can't be reached: {cause}."
    if found["database"] == "ok" and found["migrations"] not in ("ok", "ahead"):
        return f"The database does not have the tables of this version: run {MIGRATE}."
    if fault := describe_fault(error):
        return fault
    return f"The database does not answer: {cause}." if is_unavailable(error) else None
