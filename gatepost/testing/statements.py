"""Records the SQL statements of the application, so that a test can count the queries of a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from flask import Flask
from sqlalchemy import event

from app.components import components_of
from app.database import db


@contextmanager
def counted(app: Flask) -> Iterator[list[str]]:
    """Collect the SQL statements of the block, on every connection of the application.

    Leaves out the queries for the maintenance mode, which is reloaded at times that do not depend on the request.
    """
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if "service_context" not in statement:
            seen.append(statement)

    def note_alone(statement: str) -> str:
        note(None, None, statement)
        return before(statement)

    with app.app_context():
        engine = db.engine
    reader = components_of(app).executor
    before: Callable[[str], str] = reader.before
    event.listen(engine, "before_cursor_execute", note)
    reader.before = note_alone
    try:
        yield seen
    finally:
        reader.before = before
        event.remove(engine, "before_cursor_execute", note)
