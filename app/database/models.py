"""The SQLAlchemy extension, the base class of all models, and the column types that models share."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import BigInteger, DateTime, ForeignKey, Index, Integer, MetaData, String
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedColumn, mapped_column
from sqlalchemy.types import TypeDecorator

# The largest signed 64-bit integer, which is the largest id.
MAX_ID = 2**63 - 1


class Base(DeclarativeBase):
    """Base class of all models. Every constraint gets a name, by which migrations and services refer to it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class _SqliteUtc(TypeDecorator[datetime]):
    """An aware UTC datetime on SQLite, which has no time zones: stored as naive UTC text, which sorts by time."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


# SQLite generates ids only for a column whose type is exactly INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")
UtcDateTime = DateTime(timezone=True).with_variant(_SqliteUtc(), "sqlite")


def ordered_string(length: int) -> String:
    """Return a string type of at most `length` characters that sorts by code point on both databases.

    PostgreSQL's default collation differs between servers and can change with an update of the system's libraries,
    which corrupts indexes built under the previous version.
    """
    return String(length).with_variant(String(length, collation="C"), "postgresql")


def owner() -> MappedColumn[int]:
    """Return the column with the id of the user that a row belongs to; the row is deleted with its user.

    An index must begin with it, because the deletion of a user finds the rows by it.
    """
    return mapped_column(Id, ForeignKey("users.id", ondelete="CASCADE"), sort_order=1)


class Owned:
    """Adds the owner of a row, as `user_id`. A model can name the column itself: `author_id = owner()`."""

    user_id: Mapped[int] = owner()


class Timestamps:
    """Adds the times of the creation and of the latest change of a row. The service sets them."""

    created_at: Mapped[datetime] = mapped_column(UtcDateTime, sort_order=2)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime, sort_order=2)


# Among the arguments of each table with generated ids: otherwise SQLite gives the id of a deleted row to a new one.
IDS_ARE_USED_ONCE = {"sqlite_autoincrement": True}


def ordered_by(*keys: str, within: Sequence[str] = ()) -> list[Index]:
    """Return the indexes of a list that can be sorted by each of `keys`, columns of the table, for `__table_args__`.

    `within` names the columns by whose values the list is narrowed, such as `("user_id",)` for the rows of one user. A
    page then reads only the rows that it shows, and the last page by cursor is as fast as the first.
    """
    return [Index(None, *within, key, "id") for key in keys]


# expire_on_commit=False: responses are serialized after the commit, which must not cause another SELECT.
db = SQLAlchemy(model_class=Base, session_options={"expire_on_commit": False})
