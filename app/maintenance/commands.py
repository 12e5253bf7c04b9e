"""The `maintenance` commands: turn maintenance mode on and off, and show its state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from app.api.request_body import load
from app.cli import OperatorGroup
from app.database import transaction
from app.maintenance import service
from app.maintenance.schemas import MAX_RETRY_AFTER_SECONDS, ContextChanges
from app.maintenance.service import State

maintenance = OperatorGroup("maintenance", help="Turn maintenance mode on and off.")


@maintenance.command("on")
@click.option("--message", default="", help="Text for clients, in the error's `detail`.")
@click.option(
    "--retry-after", type=click.IntRange(1, MAX_RETRY_AFTER_SECONDS), help="Value of Retry-After, in seconds."
)
def turn_on(message: str, retry_after: int | None) -> None:
    """Turn maintenance mode on. All routes except health checks, documents and the service context answer 503."""
    changes: dict[str, Any] = {"maintenance": True, "message": message}
    if retry_after is not None:
        changes["retry_after"] = retry_after
    _change(changes)


@maintenance.command("off")
def turn_off() -> None:
    """Turn maintenance mode off."""
    _change({"maintenance": False})


@maintenance.command("status")
def show_status() -> None:
    """Show whether maintenance mode is on."""
    _show(service.read_state())


def _change(changes: Mapping[str, Any]) -> None:
    checked = load(ContextChanges(), changes)
    with transaction():
        service.lock_state()
        state = service.change_state(checked)
    _show(state)


def _show(state: State) -> None:
    click.echo(f"maintenance: {'on' if state.maintenance else 'off'}")
    if state.maintenance:
        click.echo(f"message: {state.message or '(none)'}\nretry after: {state.retry_after} s")
