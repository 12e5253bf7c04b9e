"""The migrations of a feature: they are reversible with rows in the tables, and create what the models declare."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

import flask_migrate
import pytest
from alembic.script import Script, ScriptDirectory
from flask import Flask

from app.database import db
from app.database.migrations import MIGRATIONS, Line, line_of, run_on
from gatepost.testing.applications import NewDatabase, migrated_app
from gatepost.testing.features import replaced_services
from gatepost.testing.scenes import Scene
from gatepost.testing.schemas import describe
from gatepost.testing.subjects import Subject, for_each
from gatepost.testing.subjects import pytest_generate_tests as pytest_generate_tests


def has_line(subject: Subject) -> bool:
    """Return whether a feature has migrations of its own."""
    return line_of(subject.feature) is not None


def line(subject: Subject) -> Line:
    """Return the migrations of a feature."""
    found = line_of(subject.feature)
    assert found is not None
    return found


def revisions(subject: Subject) -> list[Script]:
    """Return the revisions of a feature, the newest first."""
    return list(ScriptDirectory(str(MIGRATIONS), version_locations=[str(line(subject).folder)]).walk_revisions())


@pytest.fixture
def own_app(new_database: NewDatabase) -> Iterator[Flask]:
    """An application on a database of its own, which the test may downgrade."""
    with migrated_app(new_database(), services=replaced_services()) as app:
        yield app


def run(subject: Subject, command: Callable[..., Any], **options: Any) -> None:
    """Run a command of Flask-Migrate on the migrations of a feature. Fails if the command does."""
    db.session.remove()
    try:
        run_on(line(subject), lambda: command(**options))
    except SystemExit:
        pytest.fail(f"flask db {command.__name__} --feature {subject} fails: see the log below")


def schema(tables: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the schema of the current application's database."""
    with db.engine.connect() as connection:
        found = describe(connection)
    return {name: found[name] for name in tables if name in found} if tables else found


@for_each(has_line)
def test_each_downgrade_is_written(subject: Subject) -> None:
    for script in revisions(subject):
        assert script.doc, f"{subject}: revision {script.revision} has no docstring"
        downgrade = getattr(script.module, "downgrade", None)
        assert downgrade is not None, f"{subject}: revision {script.revision} has no downgrade()"
        [function] = ast.parse(textwrap.dedent(inspect.getsource(downgrade))).body
        assert isinstance(function, ast.FunctionDef)
        calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
        raises = [node for node in ast.walk(function) if isinstance(node, ast.Raise)]
        is_written = bool(calls) and not raises
        assert is_written, f"{subject}: downgrade() of revision {script.revision} does nothing"


@for_each(has_line)
def test_down_and_up_again_with_rows(own_app: Flask, subject: Subject) -> None:
    scene = Scene(own_app, subject)
    empty = [name for name, count in scene.counts().items() if not count]
    assert not empty, f"{subject}: the setup of the examples creates no row in {empty}"
    names = tuple(scene.counts())
    with own_app.app_context():
        first, others = schema(names), {name: found for name, found in schema().items() if name not in names}
        if len(revisions(subject)) > 1:
            # The newest revision has to suit the rows that exist: a new column needs a default.
            run(subject, flask_migrate.downgrade, revision="-1")
            run(subject, flask_migrate.upgrade)
        run(subject, flask_migrate.downgrade, revision="base")
        left = [name for name in names if name in schema()]
        assert not left, f"{subject}: after the downgrade to base there are still the tables {left}"
        assert {name: found for name, found in schema().items() if name in others} == others
        run(subject, flask_migrate.upgrade)
        assert schema(names) == first, f"{subject}: the tables differ after the downgrade to base and an upgrade"


@for_each(has_line)
def test_every_single_step_is_reversible(own_app: Flask, subject: Subject) -> None:
    steps = revisions(subject)
    with own_app.app_context():
        run(subject, flask_migrate.downgrade, revision="base")
        states = []
        for script in reversed(steps):
            states.append(schema())
            run(subject, flask_migrate.upgrade, revision=script.revision)
        for script, state in zip(steps, reversed(states), strict=True):
            run(subject, flask_migrate.downgrade, revision="-1")
            message = f"{subject}: downgrade() of revision {script.revision} does not undo its upgrade()"
            # The version table is created by the first revision, and stays.
            stays = line(subject).version_table
            assert schema() | {stays: None} == state | {stays: None}, message


@for_each(has_line)
def test_models_and_migrations_agree(own_app: Flask, subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
    with own_app.app_context():
        try:
            run_on(line(subject), flask_migrate.check)
        except SystemExit:
            pytest.fail(f"{subject}: models and migrations differ: {caplog.text}")


@for_each(lambda subject: subject.tables)
def test_constraints_are_named_and_keys_have_an_index(app: Flask, backend: str, subject: Subject) -> None:
    """Without an index of each foreign key, the deletion of a user scans whole tables."""
    with app.app_context():
        found = schema()
    for table in subject.tables:
        described = found[table.name]
        # On SQLite an autoincrement key is part of the column and has no name.
        counts = backend == "sqlite" and table.dialect_options["sqlite"]["autoincrement"]
        assert described["primary"]["name"] == (None if counts else f"pk_{table.name}"), table.name
        leading = [index["column_names"][0] for index in described["indexes"]]
        leading += [unique["column_names"][0] for unique in described["unique"]]
        leading += described["primary"]["constrained_columns"][:1]
        for key in described["foreign"]:
            columns = key["constrained_columns"]
            assert key["name"] == f"fk_{table.name}_{'_'.join(columns)}_{key['referred_table']}", table.name
            assert key["options"].get("ondelete"), f"{key['name']} has no ON DELETE: users could not be deleted"
            assert columns[0] in leading, (
                f"{table.name}.{columns[0]} refers to {key['referred_table']} without an index"
            )
        for unique in described["unique"]:
            assert unique["name"] == f"uq_{table.name}_{'_'.join(unique['column_names'])}"
        for check in described["checks"]:
            assert check["name"].startswith(f"ck_{table.name}_"), check
        own = [index for index in described["indexes"] if "duplicates_constraint" not in index]
        for index in own:
            assert index["name"] == f"ix_{table.name}_{'_'.join(map(str, index['column_names']))}"
        # The numbers match the model, so no index and no key is unnamed.
        assert len(own) == len(table.indexes), f"{table.name}: the database has other indexes than the model"
        assert len(described["foreign"]) == len(table.foreign_key_constraints), table.name
