"""The `audit` commands, with which an operator deletes old events."""

from __future__ import annotations

from datetime import timedelta

import click

from app.audit import service
from app.cli import OperatorGroup
from app.components import utc_now
from app.database import in_batches, transaction

# Small enough for the statement timeout, and to let other writers run between batches.
BATCH = 2000
MAX_DAYS = 99_999

audit = OperatorGroup("audit", help="Maintain the audit log.")


@audit.command("prune")
@click.option(
    "--older-than-days", type=click.IntRange(1, MAX_DAYS), required=True, help="The age of the newest deleted."
)
def prune(older_than_days: int) -> None:
    """Delete old events, and record that in a new event."""
    before = utc_now() - timedelta(days=older_than_days)
    count = in_batches(lambda limit: service.prune(before, limit), BATCH)
    if count:
        with transaction():
            service.record("audit_pruned", None, detail=f"{older_than_days}d")
    click.echo(f"{count} old events deleted.")
