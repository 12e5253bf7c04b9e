"""The routes of the service context: the state of the maintenance mode."""

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
    """Read the state of the service."""
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
    """Begin or end maintenance: within a second every worker refuses other routes, or serves them again."""
    require_unchanged(service.lock_state(), CONTEXT)
    return service.change_state(body)
