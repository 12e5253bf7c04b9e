"""Reads and changes rows directly in the database, without the application's services."""

from __future__ import annotations

from typing import Any

from flask import Flask
from sqlalchemy import delete, func, select

from app.database import Base, db
from app.users.models import User


def count_rows(app: Flask, model: type[Base], **where: Any) -> int:
    """Return how many rows of a table have these values."""
    with app.app_context(), db.engine.begin() as connection:
        statement = select(func.count()).select_from(model.__table__)
        for name, value in where.items():
            statement = statement.where(model.__table__.c[name] == value)
        return connection.scalar(statement) or 0


def delete_user_row(app: Flask, user_id: int) -> None:
    """Delete a user from another connection, as another worker would."""
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(delete(User).where(User.id == user_id))
