"""Functions to read and fill the audit log, for tests."""

from __future__ import annotations

from typing import Any

from flask import Flask
from sqlalchemy import insert, select

from app.audit.models import AuthEvent
from app.database import db, fetch_all
from tests.conftest import Clock


def events(app: Flask, *names: str) -> list[dict[str, Any]]:
    """Return all events, or those with these names, by id and without their ids."""
    statement = select(*AuthEvent.__table__.columns).order_by(AuthEvent.id)
    with app.app_context():
        rows = [dict(row._mapping) for row in fetch_all(statement)]
    return [
        {name: value for name, value in row.items() if name != "id"}
        for row in rows
        if not names or row["event"] in names
    ]


def names(app: Flask) -> list[str]:
    """Return the names of all events."""
    return [event["event"] for event in events(app)]


def add_events(app: Flask, clock: Clock, *rows: dict[str, Any]) -> None:
    """Insert events directly into the table."""
    common = {
        "created_at": clock.now,
        "event": "logged_in",
        "actor": "self",
        "user_id": None,
        "actor_id": None,
        "detail": None,
    }
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(insert(AuthEvent), [{**common, **row} for row in rows])
