"""The routes by which administrators list and end the sessions of any user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.api.access import ADMIN, Caller
from app.api.errors import NotFound
from app.api.pagination import Page
from app.api.responses import listing, no_content
from app.api.routing import Api
from app.auth import sessions
from app.auth.schemas import SessionListQuery, SessionView
from app.users.service import get_user, require_admin_still

user_sessions = Api("user_sessions", __name__)


@user_sessions.operation(
    "GET",
    "/users/<id:user_id>/sessions",
    access=ADMIN,
    query=SessionListQuery(),
    answer=listing(SessionView()),
    problems=(NotFound,),
)
def list_user_sessions(caller: Caller, user_id: int, query: Mapping[str, Any]) -> Page:
    """List a user's live sessions."""
    get_user(user_id)
    return sessions.list_sessions(caller, user_id, query)


@user_sessions.operation(
    "DELETE",
    "/users/<id:user_id>/sessions",
    access=ADMIN,
    answer=no_content(),
    problems=(NotFound,),
)
def end_user_sessions(caller: Caller, user_id: int) -> None:
    """End all sessions of a user, also the current one if the user is the caller."""
    require_admin_still(caller)
    get_user(user_id)
    sessions.end_sessions(user_id, "ended")


@user_sessions.operation(
    "DELETE",
    "/users/<id:user_id>/sessions/<id:session_id>",
    access=ADMIN,
    answer=no_content(),
    problems=(NotFound,),
)
def end_user_session(caller: Caller, user_id: int, session_id: int) -> None:
    """End one session of a user."""
    require_admin_still(caller)
    if not sessions.end_session(user_id, session_id, "ended"):
        raise NotFound
