"""Counts what the application asks of its database, so that a list can't quietly become one query a row."""

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
    """Collect the SQL that runs inside, on every connection of the application.

    But for the state of the service: that is asked for now and then, whatever is called.
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
