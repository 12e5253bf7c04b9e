"""Permissions: every role with every method of every route in the URL map.

The first test fails for a new route until the table has a row for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from app import create_app
from tests.conftest import API, PASSWORD, settings_for
from tests.hostile.cases import JSON, Case, check
from tests.hostile.target import ALICE, Target, message

# Reading the URL map opens no database connection.
ROUTES = create_app(settings_for("sqlite:////nowhere/gatepost.db")).url_map
# Anonymous; Bob; Alice, the owner; Alice with the access token of a refresh; Carol, the administrator; Dora, a disabled
# user; Erna, a user with a revoked session; and Alice's refresh token in place of an access token.
ROLES = ("anonymous", "stranger", "owner", "stale", "administrator", "disabled", "revoked", "misplaced")
HOLDS: dict[str, Callable[[Target], str]] = {
    "stranger": lambda target: target.people["bob"].access,
    "owner": lambda target: target.alice.access,
    "stale": lambda target: target.alice.stale,
    "administrator": lambda target: target.people["carol"].access,
    "disabled": lambda target: target.people["dora"].access,
    "revoked": lambda target: target.people["erna"].access,
    "misplaced": lambda target: target.alice.refresh,
}
FRANK = {"email": "frank@example.com", "name": "Frank", "password": PASSWORD}
LOGIN = {"email": "alice@example.com", "password": PASSWORD}
CHANGE = {"current_password": PASSWORD, "new_password": "staple of a new battery"}
POST = {"title": "Title", "content": "Content"}
GONE = 401
# For each method and rule: a path, a valid body, and the status of the response to each of ROLES.
LINES: dict[str, tuple[str, Any, tuple[int, ...]]] = {
    "GET /users": ("/users", None, (401, 200, 200, 200, 200, GONE, GONE, GONE)),
    "POST /users": ("/users", FRANK, (401, 403, 403, 403, 201, GONE, GONE, GONE)),
    "GET /users/<id:user_id>": ("/users/1", None, (200, 200, 200, 200, 200, GONE, GONE, GONE)),
    "PUT /users/<id:user_id>": ("/users/1", {"name": "New"}, (401, 403, 200, 200, 200, GONE, GONE, GONE)),
    "PATCH /users/<id:user_id>": ("/users/1", {"bio": "New"}, (401, 403, 200, 200, 200, GONE, GONE, GONE)),
    "DELETE /users/<id:user_id>": ("/users/1", None, (401, 403, 204, 401, 204, GONE, GONE, GONE)),
    "GET /users/<id:user_id>/export": ("/users/1/export", None, (401, 403, 200, 401, 403, GONE, GONE, GONE)),
    "GET /users/<id:user_id>/posts": ("/users/1/posts", None, (200, 200, 200, 200, 200, GONE, GONE, GONE)),
    "GET /users/<id:user_id>/posts drafts": (
        "/users/1/posts?status=draft", None, (401, 403, 200, 200, 403, GONE, GONE, GONE),
    ),
    # These routes are public and ignore tokens.
    "POST /auth/register": ("/auth/register", FRANK, (201,) * 8),
    "POST /auth/login": ("/auth/login", LOGIN, (200,) * 8),
    "POST /auth/refresh": ("/auth/refresh", None, (401, 401, 401, 401, 401, GONE, GONE, 200)),
    "POST /auth/logout": ("/auth/logout", None, (401, 204, 204, 204, 204, 204, GONE, 204)),
    "GET /auth/me": ("/auth/me", None, (401, 200, 200, 200, 200, GONE, GONE, GONE)),
    "GET /auth/sessions": ("/auth/sessions", None, (401, 200, 200, 200, 200, GONE, GONE, GONE)),
    "DELETE /auth/sessions": ("/auth/sessions", None, (401, 204, 204, 204, 204, GONE, GONE, GONE)),
    "DELETE /auth/sessions/<id:session_id>": ("/auth/sessions/1", None, (401, 404, 204, 204, 404, GONE, GONE, GONE)),
    "POST /auth/password": ("/auth/password", CHANGE, (401, 204, 204, 204, 204, GONE, GONE, GONE)),
    "POST /auth/reauthenticate": (
        "/auth/reauthenticate", {"password": PASSWORD}, (401, 200, 200, 200, 200, GONE, GONE, GONE),
    ),
    "GET /users/<id:user_id>/sessions": ("/users/1/sessions", None, (401, 403, 403, 403, 200, GONE, GONE, GONE)),
    "DELETE /users/<id:user_id>/sessions": ("/users/1/sessions", None, (401, 403, 403, 403, 204, GONE, GONE, GONE)),
    "DELETE /users/<id:user_id>/sessions/<id:session_id>": (
        "/users/1/sessions/1", None, (401, 403, 403, 403, 204, GONE, GONE, GONE),
    ),
    "GET /posts": ("/posts", None, (200, 200, 200, 200, 200, GONE, GONE, GONE)),
    "GET /posts drafts": ("/posts?status=draft", None, (401, 200, 200, 200, 200, GONE, GONE, GONE)),
    "POST /posts": ("/posts", POST, (401, 201, 201, 201, 201, GONE, GONE, GONE)),
    "GET /posts/<id:post_id>": ("/posts/1", None, (200, 200, 200, 200, 200, GONE, GONE, GONE)),
    "PUT /posts/<id:post_id>": ("/posts/1", POST, (401, 403, 200, 200, 200, GONE, GONE, GONE)),
    "PATCH /posts/<id:post_id>": ("/posts/1", POST, (401, 403, 200, 200, 200, GONE, GONE, GONE)),
    "DELETE /posts/<id:post_id>": ("/posts/1", None, (401, 403, 204, 204, 204, GONE, GONE, GONE)),
    # For a stranger the draft does not exist.
    "GET /posts/<id:post_id> draft": ("/posts/2", None, (404, 404, 200, 200, 200, GONE, GONE, GONE)),
    "PUT /posts/<id:post_id> draft": ("/posts/2", POST, (401, 404, 200, 200, 200, GONE, GONE, GONE)),
    "PATCH /posts/<id:post_id> draft": ("/posts/2", POST, (401, 404, 200, 200, 200, GONE, GONE, GONE)),
    "DELETE /posts/<id:post_id> draft": ("/posts/2", None, (401, 404, 204, 204, 204, GONE, GONE, GONE)),
    "GET /auth/events": ("/auth/events", None, (401, 200, 200, 200, 200, GONE, GONE, GONE)),
    "GET /audit": ("/audit", None, (401, 403, 403, 403, 200, GONE, GONE, GONE)),
    "GET /service-context": ("/service-context", None, (401, 403, 403, 403, 200, GONE, GONE, GONE)),
    "PATCH /service-context": (
        "/service-context", {"message": "Soon"}, (401, 403, 403, 403, 200, GONE, GONE, GONE),
    ),
    "GET //health": ("//health", None, (200,) * 8),
    "GET //health/ready": ("//health/ready", None, (200,) * 8),
    "GET //metrics": ("//metrics", None, (200,) * 8),
    "GET //openapi.json": ("//openapi.json", None, (200,) * 8),
    "GET //.well-known/jwks.json": ("//.well-known/jwks.json", None, (200,) * 8),
    "GET //docs": ("//docs", None, (200,) * 8),
    "GET //docs/<name>": ("//docs/page.css", None, (200,) * 8),
    "GET //": ("//", None, (200,) * 8),
    "GET //problems": ("//problems", None, (200,) * 8),
    "GET //problems/<name>": ("//problems/not-found", None, (200,) * 8),
}  # fmt: skip


def rules() -> set[str]:
    """Return every method of every route, in the form of the table's keys."""
    return {
        f"{method} {rule.rule.removeprefix(API) if rule.rule.startswith(API) else '/' + rule.rule}"
        for rule in ROUTES.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def test_every_method_of_every_route_has_a_row() -> None:
    assert {" ".join(line.split()[:2]) for line in LINES} == rules()


def test_every_row_has_every_role() -> None:
    assert {len(statuses) for _, _, statuses in LINES.values()} == {len(ROLES)}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("line", LINES)
def test_the_permissions_of_every_role(target: Target, line: str, role: str) -> None:
    path, body, statuses = LINES[line]
    status = statuses[ROLES.index(role)]
    try:
        _ask(target, line.split()[0], path, body, role, status)
        if line.startswith("GET"):
            _ask(target, "HEAD", path, None, role, status)
    finally:
        if not target.is_whole():
            target.restore()


def _ask(target: Target, method: str, path: str, body: Any, role: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {HOLDS[role](target)}"} if role in HOLDS else {}
    if body is not None:
        headers["Content-Type"] = JSON
    content = json.dumps(body).encode() if body is not None else b""
    answer = target.send(message(method, path[1:] if path.startswith("//") else API + path, headers, content))
    assert answer.status == status, (role, answer.body[:300])
    if status >= 400:
        assert target.is_whole()
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)


def test_a_foreign_session_and_a_missing_one_get_the_same_response(target: Target) -> None:
    answers = [
        check(target, _session(target, number)).json() | {"request_id": ""} for number in (ALICE, 4711, 2**63 - 1)
    ]
    assert answers[0] == answers[1] == answers[2]


def _session(target: Target, number: int) -> Case:
    headers = {"Authorization": f"Bearer {target.people['bob'].access}"}
    return Case("session", 404, "not_found", lambda _: message("DELETE", f"{API}/auth/sessions/{number}", headers))
