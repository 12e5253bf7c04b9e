"""The ordinary operations on rows that belong to a user: page, get, create, update, delete and export.

A feature whose rows have other rules overrides a method, or writes its own functions with app/database/queries.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any, Protocol

from marshmallow import Schema
from sqlalchemy import Executable, Row, bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.api.conditional import require_unchanged
from app.api.errors import NotFound, TokenRevoked
from app.api.pagination import Filter, Page, paginate
from app.components import utc_now
from app.database import fetch_all, precompiled, snapshot, violates, write

EXPORT_BATCH = 100


class Parts(Protocol):
    """A member of a row that is stored in another table, such as the waypoints of a trip."""

    def select(self, row_ids: Sequence[int]) -> Executable:
        """Return the statement for the parts of several rows, which have the id of their row as `parent_id`."""

    def complete(self, items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        """Return loaded items with a value for each member, as they are read after they were stored."""

    def store(self, row_id: int, items: Sequence[Mapping[str, Any]]) -> None:
        """Replace the parts of a row by complete `items`, in the open transaction."""


class OrderedParts(Parts):
    """Parts that are an ordered list: rows with the id of their row in a column, and their `position` in the list.

    Both columns are the primary key, which is also the index by which they are read. A member that an item does not
    have is null, unless the schema of the items has a default.
    """

    def __init__(self, model: Any, parent: str) -> None:
        """`parent` is the column of `model` with the id of the row, whose foreign key has ON DELETE CASCADE."""
        self.model, self.parent = model, getattr(model, parent)
        columns = (*model.__table__.columns, self.parent.label("parent_id"))
        self._rows = select(*columns).order_by(self.parent, model.position)
        self._members = [column.key for column in model.__table__.columns if column.key not in (parent, "position")]

    def select(self, row_ids: Sequence[int]) -> Executable:
        return self._rows.where(self.parent.in_(row_ids))

    def complete(self, items: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
        return [{name: item.get(name) for name in self._members} for item in items]

    def store(self, row_id: int, items: Sequence[Mapping[str, Any]]) -> None:
        write(delete(self.model).where(self.parent == row_id))
        rows = [{**item, self.parent.key: row_id, "position": position} for position, item in enumerate(items)]
        if rows:
            write(insert(self.model).values(rows))


class OwnedRows:
    """The rows of a table, each of which belongs to one user.

    For every other user, administrators included, a row does not exist: the methods raise NotFound. They take the id of
    the user first. A row has its columns and its parts as attributes, and is shown by the schema of responses.
    """

    def __init__(
        self,
        model: Any,
        schema: Schema,
        *,
        orders: Sequence[str],
        parts: Mapping[str, Parts] | None = None,
        owner: str = "user_id",
    ) -> None:
        """`model` has the mixin Timestamps, and `owner` is its column with the id of the user.

        `orders` are the columns by which a page can be sorted: the table has the indexes
        `ordered_by(*orders, within=(owner,))`. `parts` are the members that are stored in other tables, by name.
        """
        self.model, self.schema, self.parts, self.owner = model, schema, parts or {}, owner
        column = getattr(model, owner)
        rows = select(*model.__table__.columns)
        self._paginate = partial(
            paginate,
            rows,
            keys={key: getattr(model, key) for key in orders},
            id_column=model.id,
            filters={"owner_id": Filter(column == bindparam("owner_id"))},
        )
        owned = rows.where(column == bindparam("owner_id"))
        row = owned.where(model.id == bindparam("row_id"))
        self._row, self._locked_row = precompiled(row), precompiled(row.with_for_update())
        self._next_rows = precompiled(
            owned.where(model.id > bindparam("last_id")).order_by(model.id).limit(EXPORT_BATCH)
        )

    def page(self, user_id: int, query: Mapping[str, Any]) -> Page:
        """Return the page of the user's rows that `query`, a loaded ListQuery with a sort, asks for.

        Raises ValidationFailed as `paginate` does.
        """
        with self._consistent_read():
            page = self._paginate(query, owner_id=user_id)
            return replace(page, items=self._with_parts(page.items))

    def get(self, user_id: int, row_id: int) -> Any:
        """Return a row. Raises NotFound."""
        with self._consistent_read():
            rows = self._with_parts(fetch_all(self._row, row_id=row_id, owner_id=user_id))
        if not rows:
            raise NotFound
        return rows[0]

    def lock(self, user_id: int, row_id: int) -> Any:
        """Return a row, locked until the transaction ends. Raises NotFound, and PreconditionFailed for a stale tag.

        The tag in If-Match is compared under the lock: of two requests with the same tag, one has to fail.
        """
        rows = write(self._locked_row, row_id=row_id, owner_id=user_id)
        if not rows:
            raise NotFound
        found = []
        for parts in self.parts.values():
            found.append(fetch_all(parts.select([row_id])))  # noqa: PERF401 - a comprehension is a frame of its own
        [row] = self._joined(rows, found)
        require_unchanged(row, self.schema)
        return row

    def create(self, user_id: int, values: Mapping[str, Any]) -> Any:
        """Insert a row with its parts and return it. `values` is a loaded body.

        Raises TokenRevoked if the user was deleted after the request was authorized, and IntegrityError if a
        constraint is violated.
        """
        columns, parts = self._split(values)
        now = utc_now()
        statement = insert(self.model).values(**columns, **{self.owner: user_id}, created_at=now, updated_at=now)
        try:
            [row] = write(statement.returning(*self.model.__table__.columns))
        except IntegrityError as error:
            if violates(error, f"fk_{self.model.__tablename__}_{self.owner}_users"):
                raise TokenRevoked from error
            raise
        for name, items in parts.items():
            self.parts[name].store(row.id, items)
        return SimpleNamespace(**row._mapping, **parts)

    def update(self, user_id: int, row_id: int, values: Mapping[str, Any]) -> Any:
        """Set the members in `values`, which is a loaded body: all of them for PUT, some for PATCH; return the row.

        If nothing changes, `updated_at` does not change either. Raises as `lock` does, and IntegrityError.
        """
        row = self.lock(user_id, row_id)
        columns, parts = self._split(values)
        columns = {name: value for name, value in columns.items() if getattr(row, name) != value}
        parts = {name: items for name, items in parts.items() if not _are_same(getattr(row, name), items)}
        if not columns and not parts:
            return row
        columns["updated_at"] = utc_now()
        write(update(self.model).where(self.model.id == row_id).values(columns))
        for name, items in parts.items():
            self.parts[name].store(row_id, items)
        return SimpleNamespace(**_attributes(row) | columns | parts)

    def delete(self, user_id: int, row_id: int) -> None:
        """Delete a row, and by their foreign keys its parts. Raises as `lock` does."""
        self.lock(user_id, row_id)
        write(delete(self.model).where(self.model.id == row_id))

    def export(self, user_id: int) -> Iterator[Mapping[str, Any]]:
        """Yield the user's rows for the export of their data, in the form of responses."""
        last_id = 0
        while rows := self._batch(user_id, last_id):
            last_id = rows[-1].id
            yield from (self.schema.dump(row) for row in rows)

    def _batch(self, user_id: int, last_id: int) -> Sequence[Any]:
        """Return the next rows after an id, so few that each statement is short."""
        with self._consistent_read():
            return self._with_parts(fetch_all(self._next_rows, owner_id=user_id, last_id=last_id))

    def _consistent_read(self) -> Any:
        """Return the context for reading rows with their parts."""
        return snapshot() if self.parts else nullcontext()

    def _with_parts(self, rows: Sequence[Row[Any]]) -> Sequence[Any]:
        """Return rows with their parts as further attributes, read with one statement for each kind of parts."""
        if not self.parts or not rows:
            return rows
        ids, found = [row.id for row in rows], []
        for parts in self.parts.values():
            found.append(fetch_all(parts.select(ids)))  # noqa: PERF401 - a comprehension is a frame of its own
        return self._joined(rows, found)

    def _joined(self, rows: Sequence[Row[Any]], found: Sequence[Sequence[Row[Any]]]) -> Sequence[Any]:
        """Return rows with their parts as further attributes. `found` are the parts of each kind."""
        if not self.parts:
            return rows
        joined = {row.id: SimpleNamespace(**row._mapping, **{name: [] for name in self.parts}) for row in rows}
        for name, parts in zip(self.parts, found, strict=True):
            for part in parts:
                getattr(joined[part.parent_id], name).append(part)
        return list(joined.values())

    def _split(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the values of columns, and the parts."""
        parts = {name: self.parts[name].complete(values[name]) for name in self.parts if name in values}
        return {name: value for name, value in values.items() if name not in parts}, parts


def _attributes(row: Any) -> dict[str, Any]:
    return vars(row) if isinstance(row, SimpleNamespace) else dict(row._mapping)


def _are_same(stored: Sequence[Any], items: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether each stored part has the values of the item at its place."""
    return len(stored) == len(items) and all(
        getattr(part, name) == value for part, item in zip(stored, items, strict=True) for name, value in item.items()
    )
