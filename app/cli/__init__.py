"""Commands for an operator: what they share, and where they hang on `flask --app run`.

Must not import a feature at its head: the features' own commands stand on this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from flask import Flask
from flask.cli import AppGroup
from sqlalchemy.exc import SQLAlchemyError

from app.api.errors import Problem, ValidationFailed
from app.database import transaction
from app.database.engine import is_unavailable

MIGRATE = "flask --app run db upgrade"


class OperatorCommand(click.Command):
    """A command that tells of a refusal or a missing database in plain words, and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        with _plain_failures():
            return super().invoke(ctx)


class OperatorGroup(AppGroup):
    """A group of such commands."""

    command_class = OperatorCommand


def init_app(app: Flask) -> None:
    """Add the commands that belong to no feature; each feature adds its own."""
    from app.cli.config import config
    from app.seed import seed

    app.cli.add_command(seed)
    app.cli.add_command(config)


def in_batches(prune_some: Callable[[int], int], batch: int) -> int:
    """Call `prune_some(batch)`, each time in a transaction of its own, until it finds less; returns the sum."""
    total = 0
    while True:
        with transaction():
            count = prune_some(batch)
        total += count
        if count < batch:
            return total


@contextmanager
def _plain_failures() -> Iterator[None]:
    """Turn what an operator can mend into a sentence; a bug keeps its traceback."""
    try:
        yield
    except ValidationFailed as error:
        raise click.ClickException(_list_of(error)) from error
    except Problem as error:
        raise click.ClickException(error.detail) from error
    except SQLAlchemyError as error:
        sentence = _explain(error)
        if sentence is None:
            raise
        raise click.ClickException(sentence) from error


def _list_of(error: ValidationFailed) -> str:
    lines = [f"  {name}: {text}" for name, texts in error.errors.items() for text in texts]
    return "\n".join(["Nothing was done, because of what was given:", *lines])


def _explain(error: SQLAlchemyError) -> str | None:
    """Return what keeps the database from serving a command, or None when the command itself is wrong."""
    from app.observability.health import find_readiness

    cause = str(getattr(error, "orig", None) or error).strip().partition("\n")[0].rstrip(".")
    found = find_readiness()
    if found["database"] != "ok":
        return f"The database can't be reached: {cause}."
    if found["migrations"] not in ("ok", "ahead"):
        return f"The database does not have the tables of this version: run {MIGRATE}."
    return f"The database does not answer: {cause}." if is_unavailable(error) else None
