"""`flask db migrate` writes migrations that run, whatever types the columns have."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
from sqlalchemy import JSON, Column, Numeric, String, Table, insert, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeDecorator, UserDefinedType

from app.database import Base, Id, UtcDateTime, db, ordered_string
from app.database.migrations import MIGRATIONS
from tests.conftest import NewDatabase, migrated_app


class Money(TypeDecorator[Decimal]):
    """A type of ours that is stored as another one."""

    impl = Numeric(12, 2)
    cache_ok = True


class Nested(TypeDecorator[Any]):
    """A type of ours that is stored as one of ours."""

    impl = Money
    cache_ok = True


class Document(TypeDecorator[Any]):
    """A type of ours that is stored as a type of one database."""

    impl = JSONB(none_as_null=True)
    cache_ok = True


class Code(UserDefinedType[str]):
    """A type of ours with its own SQL."""

    cache_ok = True

    def get_col_spec(self, **kwargs: Any) -> str:
        return "VARCHAR(7)"

    def __repr__(self) -> str:
        return "Code()"


class ShortText(String):
    """A type of ours that derives from one of SQLAlchemy's."""


@pytest.fixture
def table() -> Iterator[Table]:
    """A table that no migration creates, in the metadata of the application."""
    table = Table(
        "samples",
        Base.metadata,
        Column("id", Id, primary_key=True),
        Column("created_at", UtcDateTime, nullable=False),
        Column("title", ordered_string(20), nullable=False),
        Column("price", Money, nullable=False),
        Column("nested", Nested),
        Column("code", Code),
        Column("short", ShortText(9)),
        Column("document", JSON().with_variant(Document(), "postgresql")),
    )
    yield table
    Base.metadata.remove(table)


def test_a_generated_migration_runs(new_database: NewDatabase, table: Table, tmp_path: Path) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, folder)
    with migrated_app(new_database()) as app, app.app_context():
        flask_migrate.migrate(directory=str(folder), message="Add samples", rev_id="sample")
        flask_migrate.upgrade(directory=str(folder))
        row = {
            "created_at": datetime.now(UTC),
            "title": "T",
            "price": Decimal("1.50"),
            "code": "x",
            "document": {"a": 1},
        }
        with db.engine.begin() as connection:
            connection.execute(insert(table), row)
            found = connection.execute(select(table)).one()._mapping
        assert {name: found[name] for name in row} == row
        source = next(folder.glob("versions/sample_*")).read_text("utf-8")
        assert 'sa.Column("price", sa.Numeric(precision=12, scale=2)' in source
        assert "app.database" not in source
        # The generated types are those of the models.
        flask_migrate.check(directory=str(folder))
        flask_migrate.downgrade(directory=str(folder))
        db.session.remove()
