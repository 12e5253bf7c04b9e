"""The `sessions` commands: deletes old sessions, stored responses and rate limit counters, for a daily timer."""

from __future__ import annotations

import click

from app.api.idempotency import service as idempotency
from app.auth import sessions as service
from app.cli import OperatorGroup, in_batches
from app.security.rate_limits import database_storage

# Small enough for the statement timeout, and for other writers to run between two batches.
BATCH = 2000

sessions = OperatorGroup("sessions", help="Delete expired sessions, responses and counters.")


@sessions.command("prune")
def prune() -> None:
    """Delete old sessions, stored responses and rate limit counters."""
    click.echo(f"{in_batches(service.prune, BATCH)} old sessions deleted.")
    click.echo(f"{in_batches(idempotency.prune, BATCH)} stored responses to Idempotency-Keys deleted.")
    click.echo(f"{in_batches(database_storage.prune, BATCH)} expired rate limit counters deleted.")
