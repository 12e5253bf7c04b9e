"""The migrations: `flask db` by Flask-Migrate, and the revisions that this version of the code has."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from alembic.script import ScriptDirectory
from flask import Flask
from flask_migrate import Migrate

from app.database.models import db

MIGRATIONS = str(Path(__file__).resolve().parents[2] / "migrations")


def init_app(app: Flask) -> None:
    """Add the `flask db` commands."""
    Migrate(app, db, directory=MIGRATIONS, compare_type=True, render_as_batch=True)


@cache
def known_revisions() -> frozenset[str]:
    """Return the revisions of all migrations."""
    return frozenset(revision.revision for revision in ScriptDirectory(MIGRATIONS).walk_revisions())


@cache
def newest_revisions() -> frozenset[str]:
    """Return the heads, the revisions that no other one follows. There is one unless the history has branches."""
    return frozenset(ScriptDirectory(MIGRATIONS).get_heads())
