"""The `sessions` commands: what a timer runs so that tables don't grow for ever."""

from __future__ import annotations

import click

from app.api.idempotency import service as idempotency
from app.auth import sessions as service
from app.cli import OperatorGroup, in_batches
from app.security.rate_limits import database_storage

# Few enough for the statement timeout, and for other writers to get their turn in between.
BATCH = 2000

sessions = OperatorGroup("sessions", help="Look after the tables of sessions and kept answers.")


@sessions.command("prune")
def prune() -> None:
    """Delete old sessions and kept answers."""
    click.echo(f"{in_batches(service.prune, BATCH)} old sessions deleted.")
    click.echo(f"{in_batches(idempotency.prune, BATCH)} old answers to Idempotency-Keys deleted.")
    click.echo(f"{in_batches(database_storage.prune, BATCH)} expired rate limit counters deleted.")
