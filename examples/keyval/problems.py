"""The reasons why a change of items is refused."""

from __future__ import annotations

from app.api.errors import Problem
from app.api.errors.base import NOT_DONE


class KeyTaken(Problem):
    """The user has an item with this key."""

    code, status = "key_taken", 409
    detail = "You have an item with this key."
    advice = "Read the item, or replace it with PUT."


class InsufficientFunds(Problem):
    """The transfer would make the value of the item `from` negative."""

    code, status = "insufficient_funds", 409
    detail = "The value of the item in `from` is less than the amount."
    advice = f"{NOT_DONE} Read the item, show its value, and ask for another amount."
