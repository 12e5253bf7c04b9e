"""Describes the schema of a database, so that the schemas before and after a migration can be compared."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, inspect


def describe(connection: Connection) -> dict[str, Any]:
    """Return everything that a migration can change, in a form that can be compared."""
    inspector = inspect(connection)
    described = {}
    for table in sorted(inspector.get_table_names()):
        columns = [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in inspector.get_columns(table)]
        described[table] = {
            "columns": columns,
            "primary": inspector.get_pk_constraint(table),
            "foreign": sorted(inspector.get_foreign_keys(table), key=str),
            "unique": sorted(inspector.get_unique_constraints(table), key=str),
            "checks": sorted(inspector.get_check_constraints(table), key=str),
            "indexes": sorted((_comparable(index) for index in inspector.get_indexes(table)), key=str),
        }
    return described


def _comparable(index: Any) -> dict[str, Any]:
    """Return an index with its condition as text, because two clauses of SQLAlchemy never compare equal."""
    options = {name: str(value) for name, value in index.get("dialect_options", {}).items()}
    return {**index, "dialect_options": options}
