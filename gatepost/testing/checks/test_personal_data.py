"""Personal data: a user's export has everything stored about them, and nothing is left when the account is deleted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Column, Table

from gatepost.testing.scenes import Scene, explain
from gatepost.testing.subjects import Subject, for_each
from gatepost.testing.subjects import pytest_generate_tests as pytest_generate_tests

USERS = "users"
# Names of columns that hold the id of a user, with or without a foreign key.
USER_COLUMNS = ("user_id", "author_id", "owner_id", "actor_id")


def owners(table: Table) -> list[Column[Any]]:
    """Return the columns of a table with the id of a user."""
    if table.name == USERS:
        return [table.c.id]
    return [c for c in table.columns if c.name in USER_COLUMNS or _refers_to(c, USERS)]


def _refers_to(column: Column[Any], name: str) -> bool:
    return any(key.column.table.name == name for key in column.foreign_keys)


def rows_of(scene: Scene, table: Table, user_id: int) -> list[dict[str, Any]]:
    """Return the rows of a table about a user: those with their id, and those that refer to such a row."""
    rows = scene.rows(table)[table.name]
    if columns := owners(table):
        return [row for row in rows if any(row[column.name] == user_id for column in columns)]
    found = []
    for key in table.foreign_keys:
        if key.column.table is not table:
            parents = {row[key.column.name] for row in rows_of(scene, key.column.table, user_id)}
            found += [row for row in rows if row[key.parent.name] in parents]
    return found


def tables_of_users(subject: Subject) -> list[Table]:
    """Return the tables of a feature whose rows belong to users, directly or by another table."""
    found: list[Table] = []
    for table in subject.tables:
        others = {key.column.table for key in table.foreign_keys}
        if owners(table) or any(_is_of_users(other) for other in others - {table}):
            found.append(table)
    return found


def _is_of_users(table: Table) -> bool:
    return bool(owners(table)) or any(
        _is_of_users(key.column.table) for key in table.foreign_keys if key.column.table is not table
    )


def objects_in(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object in a value, at any depth."""
    if isinstance(value, dict):
        yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from objects_in(part)


def exported_columns(subject: Subject, table: Table) -> list[str]:
    """Return the columns that the export has to show: all but keys of other rows, and those that are excepted.

    The key of a row of another row, such as a waypoint of a trip, is left out too.
    """
    is_part = not owners(table)
    return [
        column.name
        for column in table.columns
        if not column.foreign_keys
        and not (is_part and column.primary_key)
        and f"{table.name}.{column.name}" not in subject.examples.exceptions
    ]


def has_tables_of_users(subject: Subject) -> bool:
    """Return whether rows of a feature belong to users."""
    return bool(tables_of_users(subject))


@for_each(has_tables_of_users)
def test_the_setup_creates_rows_of_alice(scene: Scene, subject: Subject) -> None:
    empty = [table.name for table in tables_of_users(subject) if not rows_of(scene, table, scene.alice.id)]
    assert not empty, f"{subject}: the setup of the examples creates no row of Alice in {empty}"


@for_each(has_tables_of_users)
def test_the_export_has_every_column(scene: Scene, subject: Subject) -> None:
    response = scene.alice.get(f"/users/{scene.alice.id}/export")
    assert response.status_code == 200, explain(response)
    objects = list(objects_in(response.get_json()))
    for table in tables_of_users(subject):
        columns = exported_columns(subject, table)
        for row in rows_of(scene, table, scene.alice.id):
            alike = [found for found in objects if _is_shown(row, found, columns)]
            nearest = max(objects, key=lambda found: len(found.keys() & {*columns}))
            lacking = sorted({*columns} - nearest.keys()) or "no column, but the row itself"
            message = f"the export of a user shows no row of {table.name} with all columns; it lacks {lacking}"
            assert alike, message
            shown = {name for found in alike for name in found if f"{table.name}.{name}" in subject.examples.exceptions}
            assert not shown, f"the export shows {sorted(shown)} of {table.name}, which is an exception"


def _is_shown(row: dict[str, Any], found: dict[str, Any], columns: list[str]) -> bool:
    """Return whether an object has all columns of a row, and the same texts and whole numbers, or null."""
    return all(
        name in found and (not isinstance(row[name], str | int) or found[name] in (row[name], None)) for name in columns
    )


@for_each(has_tables_of_users)
def test_nothing_is_left_of_a_deleted_user(scene: Scene, subject: Subject) -> None:
    bob = scene.people["bob"]
    tables = tables_of_users(subject)
    others = {table.name: rows_of(scene, table, bob.id) for table in tables}
    before = {table.name: len(scene.rows(table)[table.name]) for table in tables}
    expected = {table.name: before[table.name] - len(rows_of(scene, table, scene.alice.id)) for table in tables}
    response = scene.alice.delete(f"/users/{scene.alice.id}")
    assert response.status_code == 204, f"The account of a user with rows cannot be deleted: {explain(response)}"
    for table in tables:
        kept = [column.name for column in owners(table) if f"{table.name}.{column.name}" in subject.examples.exceptions]
        if kept:
            continue
        for column in owners(table):
            left = [row for row in scene.rows(table)[table.name] if row[column.name] == scene.alice.id]
            assert not left, f"{table.name}.{column.name} still has the id of a deleted user"
        assert rows_of(scene, table, bob.id) == others[table.name], f"{table.name} lost rows of another user"
        if not owners(table):
            found = len(scene.rows(table)[table.name])
            assert found == expected[table.name], f"{table.name} has {found} rows, not {expected[table.name]}"
