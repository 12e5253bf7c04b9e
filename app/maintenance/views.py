"""The routes of the service context, which is the state of maintenance mode."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.api.access import ADMIN, Caller
from app.api.conditional import require_unchanged
from app.api.errors import PreconditionFailed
from app.api.responses import ok
from app.api.routing import Api
from app.maintenance import service
from app.maintenance.schemas import CONTEXT, ContextChanges
from app.maintenance.service import State

service_context = Api("service_context", __name__)


@service_context.operation("GET", "/service-context", access=ADMIN, answer=ok(CONTEXT))
def get_context(caller: Caller) -> State:
    """Get the state of maintenance mode."""
    return service.read_state()


@service_context.operation(
    "PATCH",
    "/service-context",
    access=ADMIN,
    body=ContextChanges(),
    answer=ok(CONTEXT),
    problems=(PreconditionFailed,),
)
def update_context(caller: Caller, body: Mapping[str, Any]) -> State:
    """Turn maintenance mode on or off. It takes effect on every worker within a second."""
    require_unchanged(service.lock_state(), CONTEXT)
    return service.change_state(body)
