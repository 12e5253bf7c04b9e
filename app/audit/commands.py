"""The `audit` commands, with which an operator deletes old events."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

from app.audit import service
from app.cli import OperatorGroup, in_batches
from app.clock import utc_now
from app.database import transaction

# Small enough for the statement timeout, and to let other writers run between batches.
BATCH = 2000
_AGE = re.compile(r"([1-9][0-9]{0,4})([dh])")
_UNITS = {"d": "days", "h": "hours"}

audit = OperatorGroup("audit", help="Maintain the audit log.")


class Age(click.ParamType[timedelta]):
    """A number of days or hours, such as 90d or 12h."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Return the age as a timedelta; fail for any other text."""
        match = _AGE.fullmatch(value)
        if match is None:
            self.fail("Give a whole number of days or hours, from 1 to 99999, such as 90d or 12h.", param, ctx)
        return timedelta(**{_UNITS[match[2]]: int(match[1])})


@audit.command("prune")
@click.option("--older-than", type=Age(), required=True, help="Days or hours, such as 90d or 12h.")
def prune(older_than: timedelta) -> None:
    """Delete old events, and record that in a new event."""
    before = utc_now() - older_than
    count = in_batches(lambda limit: service.prune(before, limit), BATCH)
    if count:
        with transaction():
            service.record("audit_pruned", None, detail=f"{older_than / timedelta(hours=1):.0f}h")
    click.echo(f"{count} old events deleted.")
