"""The schema's history: what the migrations say of themselves, and the commands that run them, each when asked.

A server runs no migration, and Alembic with its templates takes 11 MB of each process that has it.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Any

from click import Command, Context
from flask import Flask
from flask.cli import AppGroup

from app import database as db

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"
_EXTENSION = "migrate"
_SAYS = re.compile(r"^(revision|down_revision)\b[^=\n]*= *(.+)$", re.MULTILINE)


class _LazyMigrate:
    """Stands for the extension until something is asked of it, and not when it is merely looked at."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def __getattr__(self, name: str) -> Any:
        from flask_migrate import Migrate

        Migrate(self._app, db.db, directory=str(MIGRATIONS), compare_type=True, render_as_batch=True)
        return getattr(self._app.extensions[_EXTENSION], name)


class _Commands(AppGroup):
    """The application's commands, `db` among them when they are asked for."""

    def __init__(self, app: Flask) -> None:
        super().__init__(app.name)
        self._app = app

    def list_commands(self, ctx: Context) -> list[str]:
        self._app.extensions[_EXTENSION].directory  # noqa: B018  # which brings them
        return super().list_commands(ctx)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        self._app.extensions[_EXTENSION].directory  # noqa: B018  # as above
        return super().get_command(ctx, cmd_name)


def init_app(app: Flask) -> None:
    """Make `flask db` and flask_migrate's functions work on this application; before others add commands."""
    app.extensions[_EXTENSION] = _LazyMigrate(app)
    app.cli = _Commands(app)


@cache
def known_revisions() -> frozenset[str]:
    """Return the revisions of all migrations that this code has."""
    return frozenset(_history())


@cache
def newest_revisions() -> frozenset[str]:
    """Return those that no other one follows: one, unless branches were merged badly."""
    return known_revisions() - {revision for before in _history().values() for revision in before}


@cache
def _history() -> dict[str, tuple[str, ...]]:
    """What each migration follows, as `revision` and `down_revision` of its file say."""
    history = {}
    for path in sorted((MIGRATIONS / "versions").glob("*.py")):
        # As Alembic does.
        if path.name.startswith(("__init__", ".#")):
            continue
        said = _read(path.read_text(encoding="utf-8"))
        if "revision" in said:
            before = said.get("down_revision")
            history[said["revision"]] = (before,) if isinstance(before, str) else tuple(before or ())
    return history


def _read(source: str) -> dict[str, Any]:
    # Lines are enough for nearly all files, and the syntax trees of all would be megabytes.
    found = _SAYS.findall(source)
    try:
        if sorted(name for name, _ in found) == ["down_revision", "revision"]:
            return {name: ast.literal_eval(value) for name, value in found}
    except (SyntaxError, ValueError):
        pass
    said = {}
    for statement in ast.parse(source).body:
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            target = statement.targets[0] if isinstance(statement, ast.Assign) else statement.target
            if isinstance(target, ast.Name) and target.id in ("revision", "down_revision"):
                said[target.id] = ast.literal_eval(statement.value)
    return said
