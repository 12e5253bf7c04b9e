"""Rows that belong to a user, shown with the table of posts: its owner has another name, and its rows have no parts.

The tests of examples/trips are about rows with parts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from marshmallow import fields

from app.api.errors import NotFound, PreconditionFailed, TokenRevoked
from app.api.fields import Identifier, OutputSchema, Timestamp
from app.api.owned_rows import EXPORT_BATCH, OwnedRows
from app.database import in_transaction, transaction
from app.posts.models import Post
from gatepost.testing.rows import count_rows
from gatepost.testing.statements import counted
from tests.conftest import Person

NEW = {"title": "Title", "content": "Text", "status": "draft", "published_at": None}
ROWS = OwnedRows(
    Post,
    OutputSchema.from_dict({"id": Identifier(), "title": fields.String(), "updated_at": Timestamp()})(),
    orders=("created_at", "title"),
    owner="author_id",
)
MISSING = 2**63 - 1


@contextmanager
def request(app: Flask, **headers: str) -> Iterator[None]:
    """Run the block as a view is run."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with app.test_request_context(headers=sent), transaction():
        yield


def create(app: Flask, person: Person, **members: Any) -> Any:
    with request(app):
        return ROWS.create(person.id, {**NEW, **members})


def test_a_row_is_created_read_changed_and_deleted(app: Flask, alice: Person) -> None:
    made = create(app, alice)
    assert (made.author_id, made.title, made.created_at) == (alice.id, "Title", made.updated_at)
    with request(app):
        assert ROWS.get(alice.id, made.id)._asdict() == vars(made)
        changed = ROWS.update(alice.id, made.id, {"title": "Other", "content": "Text"})
        assert vars(changed) == vars(made) | {"title": "Other", "updated_at": changed.updated_at}
        assert changed.updated_at > made.updated_at
    with request(app):
        assert not in_transaction()
        assert ROWS.get(alice.id, made.id)._asdict() == vars(changed)
        unchanged = ROWS.update(alice.id, made.id, {"title": "Other"})
        assert unchanged.updated_at == changed.updated_at
        ROWS.delete(alice.id, made.id)
    assert count_rows(app, Post) == 0


def rename(user_id: int, row_id: int) -> Any:
    return ROWS.update(user_id, row_id, {"title": "Other"})


def test_a_row_exists_for_its_owner_only(app: Flask, alice: Person, carol: Person) -> None:
    made = create(app, alice)
    for user_id, row_id in ((carol.id, made.id), (alice.id, made.id + 1), (MISSING, made.id)):
        for act in (ROWS.get, ROWS.lock, ROWS.delete, rename):
            with pytest.raises(NotFound), request(app):
                act(user_id, row_id)
        with request(app):
            assert [row for row in ROWS.export(user_id) if user_id != alice.id] == []
            page = ROWS.page(user_id, {"limit": 20, "sort": "title"})
            assert [row.id for row in page.items] == [made.id] * (user_id == alice.id)
    with request(app):
        assert ROWS.get(alice.id, made.id).title == "Title"


def test_a_stale_tag_changes_nothing(app: Flask, alice: Person) -> None:
    made = create(app, alice)
    for act in (ROWS.lock, ROWS.delete, rename):
        with pytest.raises(PreconditionFailed), request(app, If_Match='"stale"'):
            act(alice.id, made.id)
    with request(app, If_Match="*"):
        assert ROWS.update(alice.id, made.id, {"title": "In time"}).title == "In time"


def test_a_page_is_in_the_order_of_the_query(app: Flask, alice: Person, carol: Person) -> None:
    made = {title: create(app, alice, title=title).id for title in "bca"}
    create(app, carol, title="ab")
    with request(app), counted(app) as statements:
        for sort, titles in (("title", "abc"), ("-title", "cba"), ("created_at", "bca")):
            page = ROWS.page(alice.id, {"limit": 20, "sort": sort})
            assert [row.id for row in page.items] == [made[title] for title in titles]
    # Rows without parts are read with one statement each, in autocommit.
    assert len(statements) == 3


def test_rows_are_exported_in_batches(app: Flask, alice: Person) -> None:
    with request(app):
        made = [ROWS.create(alice.id, NEW).id for _ in range(2 * EXPORT_BATCH + 1)]
    with request(app), counted(app) as statements:
        exported = list(ROWS.export(alice.id))
    assert [row["id"] for row in exported] == made
    assert exported[0].keys() == {"id", "title", "updated_at"}
    assert isinstance(exported[0]["updated_at"], str)
    assert len(statements) == 4


def test_a_user_who_was_deleted_meanwhile_owns_nothing(app: Flask) -> None:
    with pytest.raises(TokenRevoked), request(app):
        ROWS.create(MISSING, NEW)
    assert count_rows(app, Post) == 0
