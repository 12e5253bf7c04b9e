"""The HTTP routes of the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.api.access import ADMIN, SIGNED_IN, Caller
from app.api.pagination import Page
from app.api.responses import listing
from app.api.routing import Api
from app.audit import service
from app.audit.schemas import AUDIT_EVENT, OWN_EVENT, AuditQuery, OwnEventListQuery

audit = Api("audit", __name__)


@audit.operation(
    "GET",
    "/auth/events",
    access=SIGNED_IN,
    query=OwnEventListQuery(),
    answer=listing(OWN_EVENT),
)
def list_own_events(caller: Caller, query: Mapping[str, Any]) -> Page:
    """List the events about your account and sessions, including failed logins."""
    return service.list_own_events(caller, query)


@audit.operation("GET", "/audit", access=ADMIN, query=AuditQuery(), answer=listing(AUDIT_EVENT))
def list_events(caller: Caller, query: Mapping[str, Any]) -> Page:
    """List the events about all accounts and sessions, including deleted ones."""
    return service.list_events(query)
