"""The `sessions` commands: what a timer runs so that tables don't grow for ever."""

from __future__ import annotations

from collections.abc import Callable

import click

from app import idempotency
from app.auth import sessions as service
from app.cli import OperatorGroup
from app.db import transaction

# Few enough for the statement timeout, and for other writers to get their turn in between.
BATCH = 2000

sessions = OperatorGroup("sessions", help="Look after the tables of sessions and kept answers.")


@sessions.command("prune")
def prune() -> None:
    """Delete old sessions and kept answers."""
    click.echo(f"{_in_batches(service.prune)} old sessions deleted.")
    click.echo(f"{_in_batches(idempotency.prune)} old answers to Idempotency-Keys deleted.")


def _in_batches(prune_some: Callable[[int], int]) -> int:
    total = 0
    while True:
        with transaction():
            count = prune_some(BATCH)
        total += count
        if count < BATCH:
            return total
