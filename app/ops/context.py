"""The service context: the maintenance switch, by HTTP and by command."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import click
from flask import Flask, request
from marshmallow import Schema, fields

from app import maintenance
from app.cli import OperatorGroup
from app.db import transaction
from app.errors import PreconditionFailed
from app.fields import Flag, InputSchema, OutputSchema, Seconds, Text, Timestamp
from app.guards import ADMIN, Caller
from app.http import Api, Endpoint, load, ok, require_unchanged
from app.maintenance import State

service_context = Api("service_context", __name__)
MESSAGE = "Back at noon."
MAX_RETRY_AFTER_SECONDS = 7 * 24 * 3600
# What still answers: probes, documents (the public keys are one), and the switch itself. A login answers
# administrators alone, which the auth feature sees to once it knows who it is.
OPEN_BLUEPRINTS = frozenset(
    {"health", "prefixed_health", "documents", "key_set", "problems", "docs", "service_context"}
)
OPEN_ENDPOINTS = frozenset({"auth.log_in"})


class ContextChanges(InputSchema):
    """What of the context may be changed."""

    maintenance = Flag()
    message = Text(0, 500, multiline=True, blank=True, metadata={"example": MESSAGE})
    retry_after = Seconds(1, MAX_RETRY_AFTER_SECONDS, metadata={"description": "Seconds.", "example": 600})


class ContextView(OutputSchema):
    """The context as administrators see it."""

    maintenance = fields.Boolean()
    message = fields.String(metadata={"description": "What clients are told.", "example": MESSAGE})
    retry_after = fields.Integer(metadata={"description": "Seconds.", "example": 600})
    updated_at = Timestamp(allow_none=True)


CONTEXT: Schema = ContextView()


def init_app(app: Flask) -> None:
    """Close the door of every other route while the service is being maintained; add the command."""
    maintenance.init_app(app)
    app.cli.add_command(commands)

    @app.before_request
    def require_service() -> None:
        if request.method == "OPTIONS" or not _can_close(request.endpoint):
            return
        maintenance.require_service()

    # No route is added once requests are served.
    @cache
    def _can_close(endpoint: str | None) -> bool:
        if endpoint is None or endpoint in OPEN_ENDPOINTS or endpoint.rpartition(".")[0] in OPEN_BLUEPRINTS:
            return False
        return isinstance(app.view_functions.get(endpoint), Endpoint)


@service_context.operation("GET", "/service-context", access=ADMIN, answer=ok(CONTEXT))
def get_context(caller: Caller) -> State:
    """Read the state of the service."""
    return maintenance.read_state()


@service_context.operation(
    "PATCH",
    "/service-context",
    access=ADMIN,
    body=ContextChanges(),
    answer=ok(CONTEXT),
    problems=(PreconditionFailed,),
)
def update_context(caller: Caller, body: Mapping[str, Any]) -> State:
    """Begin or end maintenance: within a second every worker refuses other routes, or serves them again."""
    require_unchanged(maintenance.lock_state(), CONTEXT)
    return maintenance.change_state(body)


commands = OperatorGroup("maintenance", help="Close the service for a while, and open it again.")


@commands.command("on")
@click.option("--message", default="", help="What clients are told.")
@click.option("--retry-after", type=click.IntRange(1, MAX_RETRY_AFTER_SECONDS), help="Seconds clients should wait.")
def turn_on(message: str, retry_after: int | None) -> None:
    """Refuse every route but probes, documents and the switch itself."""
    changes: dict[str, Any] = {"maintenance": True, "message": message}
    if retry_after is not None:
        changes["retry_after"] = retry_after
    _change(changes)


@commands.command("off")
def turn_off() -> None:
    """Serve again."""
    _change({"maintenance": False})


@commands.command("status")
def show_status() -> None:
    """Tell whether the service is being maintained."""
    _show(maintenance.read_state())


def _change(changes: Mapping[str, Any]) -> None:
    checked = load(ContextChanges(), changes)
    with transaction():
        maintenance.lock_state()
        state = maintenance.change_state(checked)
    _show(state)


def _show(state: State) -> None:
    click.echo(f"maintenance: {'on' if state.maintenance else 'off'}")
    if state.maintenance:
        click.echo(f"message: {state.message or '(none)'}\nretry after: {state.retry_after} s")
