"""Calls to every route with every expected status, for the tests that check all routes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import API, PASSWORD, Person

POST = {"title": "Hello", "content": "My first post."}
NEW_PASSWORD = "staple of a new battery"
# No row has this id.
MISSING_ID = 2**63 - 1


@dataclass
class SeedData:
    """The users of the tests and their resources, which replace the placeholders of calls."""

    app: Flask
    client: FlaskClient
    alice: Person
    bob: Person
    carol: Person
    names: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        published = self.alice.post("/posts", json=POST)
        draft = self.alice.post("/posts", json={**POST, "status": "draft"})
        self.names = {
            "alice": self.alice.id,
            "bob": self.bob.id,
            "carol": self.carol.id,
            "session": self.alice.session_id,
            "post": published.get_json()["id"],
            "draft": draft.get_json()["id"],
            "etag": published.headers["ETag"],
            "refresh": self.alice.refresh_token,
            "missing": MISSING_ID,
        }

    def call(self, call: Call) -> TestResponse:
        """Send a call as its user."""
        headers = {name: value.format(**self.names) for name, value in call.headers.items()}
        if call.user:
            person: Person = getattr(self, call.user)
            headers = {**person.headers, **headers}
        body = {
            name: value.format(**self.names) if isinstance(value, str) else value for name, value in call.body.items()
        }
        options: dict[str, Any] = {"json": body} if body or call.has_body else {}
        return self.client.open(call.path.format(**self.names), method=call.method, headers=headers, **options)


@dataclass(frozen=True)
class Call:
    """A request and the expected status. `SeedData.call` replaces the `{placeholders}` in it."""

    operation: str
    status: int
    method: str
    path: str
    user: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    has_body: bool = False

    def __str__(self) -> str:
        return f"{self.operation}-{self.status}-{self.user or 'anonymous'}"


def _call(operation: str, status: int, request: str, user: str = "", **options: Any) -> Call:
    method, _, path = request.partition(" ")
    return Call(operation, status, method, API + path, user, **options)


def _plain(operation: str, status: int, path: str, **options: Any) -> Call:
    return Call(operation, status, "GET", path, **options)


DAVE = {"email": "dave@example.com", "name": "Dave", "password": PASSWORD}
LOGIN = {"email": "alice@example.com", "password": PASSWORD}
PASSWORDS = {"current_password": PASSWORD, "new_password": NEW_PASSWORD}
PROFILE = {"name": "Alicia", "bio": "Now with a bio."}
# Maintenance stays off, because the service would refuse later requests. The tests of maintenance switch it on.
CONTEXT = {"maintenance": False, "message": "Back at noon.", "retry_after": 600}
STALE = {"If-Match": '"stale"'}
KEY = {"Idempotency-Key": "key-1"}
BEARER = {"Authorization": "Bearer {refresh}"}
BAD_SCHEME = {"Authorization": "Bearer a, Bearer b"}

CALLS = [
    _plain("get_health", 200, "/health"),
    _plain("get_health", 422, "/health?surprise=1"),
    _plain("get_health", 400, "/health?a=%FF"),
    _plain("get_readiness", 200, "/health/ready"),
    _plain("get_metrics", 200, "/metrics"),
    _plain("get_metrics", 422, "/metrics?surprise=1"),
    _plain("get_openapi", 200, "/openapi.json"),
    _plain("get_openapi", 422, "/openapi.json?surprise=1"),
    _plain("get_key_set", 200, "/.well-known/jwks.json"),
    _plain("get_key_set", 422, "/.well-known/jwks.json?surprise=1"),
    _plain("get_service", 200, "/"),
    _plain("get_service", 200, "/", headers={"Accept": "text/html"}),
    _plain("get_service", 422, "/?surprise=1"),
    _plain("get_problems", 200, "/problems"),
    _plain("get_problems", 200, "/problems", headers={"Accept": "text/html"}),
    _plain("get_problems", 422, "/problems?surprise=1"),
    _plain("get_problem", 200, "/problems/validation-error"),
    _plain("get_problem", 200, "/problems/not-found", headers={"Accept": "application/json"}),
    _plain("get_problem", 404, "/problems/no-such-problem"),
    _plain("get_docs", 200, "/docs"),
    _plain("get_docs", 422, "/docs?surprise=1"),
    _plain("get_docs_file", 200, "/docs/page.js"),
    _plain("get_docs_file", 200, "/docs/swagger-ui.css"),
    _plain("get_docs_file", 404, "/docs/nothing"),
    _plain("get_docs_file", 422, "/docs/page.js?surprise=1"),
    _call("register", 201, "POST /auth/register", body=DAVE),
    _call("register", 409, "POST /auth/register", body={**DAVE, "email": "ALICE@example.com"}),
    _call("register", 422, "POST /auth/register", body={**DAVE, "password": "short", "surprise": 1}),
    _call("log_in", 200, "POST /auth/login", body=LOGIN),
    _call("log_in", 200, "POST /auth/login", body={**LOGIN, "cookie": True}),
    _call("log_in", 401, "POST /auth/login", body={**LOGIN, "password": "wrong"}),
    _call("log_in", 422, "POST /auth/login", has_body=True),
    _call("refresh", 200, "POST /auth/refresh", body={"refresh_token": "{refresh}"}),
    _call("refresh", 200, "POST /auth/refresh", headers=BEARER),
    _call("refresh", 200, "POST /auth/refresh", headers=BEARER, body={"cookie": True}),
    _call("refresh", 400, "POST /auth/refresh", headers=BEARER, body={"refresh_token": "{refresh}"}),
    _call("refresh", 401, "POST /auth/refresh"),
    _call("refresh", 401, "POST /auth/refresh", "alice"),
    _call("refresh", 422, "POST /auth/refresh", body={"refresh_token": 1}),
    _call("log_out", 204, "POST /auth/logout", "alice"),
    _call("log_out", 204, "POST /auth/logout", body={"refresh_token": "{refresh}"}),
    _call("log_out", 401, "POST /auth/logout", body={"refresh_token": "rubbish"}),
    _call("get_me", 200, "GET /auth/me", "alice"),
    _call("get_me", 304, "GET /auth/me", "alice", headers={"If-None-Match": "*"}),
    _call("get_me", 400, "GET /auth/me", headers=BAD_SCHEME),
    _call("get_me", 401, "GET /auth/me"),
    _call("get_me", 406, "GET /auth/me", "alice", headers={"Accept": "text/html"}),
    _call("list_sessions", 200, "GET /auth/sessions", "alice"),
    _call("list_sessions", 200, "GET /auth/sessions?page=1", "alice"),
    _call("list_sessions", 401, "GET /auth/sessions", headers={"Authorization": "Basic YTpi"}),
    _call("list_sessions", 422, "GET /auth/sessions?sort=ip", "alice"),
    _call("end_session", 204, "DELETE /auth/sessions/{session}", "alice"),
    _call("end_session", 404, "DELETE /auth/sessions/{session}", "bob"),
    _call("end_session", 401, "DELETE /auth/sessions/{session}"),
    _call("end_sessions", 204, "DELETE /auth/sessions?include_current=true", "alice"),
    _call("end_sessions", 401, "DELETE /auth/sessions"),
    _call("end_sessions", 422, "DELETE /auth/sessions?include_current=yes", "alice"),
    _call("change_password", 204, "POST /auth/password", "alice", body=PASSWORDS),
    _call("change_password", 401, "POST /auth/password", body=PASSWORDS),
    _call("change_password", 422, "POST /auth/password", "alice", body={**PASSWORDS, "current_password": "wrong"}),
    _call("reauthenticate", 200, "POST /auth/reauthenticate", "alice", body={"password": PASSWORD}),
    _call("reauthenticate", 401, "POST /auth/reauthenticate", body={"password": PASSWORD}),
    _call("reauthenticate", 422, "POST /auth/reauthenticate", "alice", body={"password": "wrong"}),
    _call("list_user_sessions", 200, "GET /users/{alice}/sessions", "carol"),
    _call("list_user_sessions", 401, "GET /users/{alice}/sessions"),
    _call("list_user_sessions", 403, "GET /users/{alice}/sessions", "alice"),
    _call("list_user_sessions", 404, "GET /users/{missing}/sessions", "carol"),
    _call("end_user_sessions", 204, "DELETE /users/{alice}/sessions", "carol"),
    _call("end_user_sessions", 401, "DELETE /users/{alice}/sessions"),
    _call("end_user_sessions", 403, "DELETE /users/{alice}/sessions", "alice"),
    _call("end_user_sessions", 412, "DELETE /users/{alice}/sessions", "carol", headers=STALE),
    _call("end_user_session", 204, "DELETE /users/{alice}/sessions/{session}", "carol"),
    _call("end_user_session", 401, "DELETE /users/{alice}/sessions/{session}"),
    _call("end_user_session", 404, "DELETE /users/{bob}/sessions/{session}", "carol"),
    _call("list_own_events", 200, "GET /auth/events", "alice"),
    _call("list_own_events", 200, "GET /auth/events?page=1&created_after=2026-01-01T00:00:00Z", "alice"),
    _call("list_own_events", 304, "GET /auth/events", "alice", headers={"If-None-Match": "*"}),
    _call("list_own_events", 401, "GET /auth/events"),
    _call("list_own_events", 422, "GET /auth/events?user_id=1", "alice"),
    _call("list_events", 200, "GET /audit", "carol"),
    _call("list_events", 200, "GET /audit?event=login_failed&user_id=1&actor_id=1&sort=created_at", "carol"),
    _call("list_events", 304, "GET /audit", "carol", headers={"If-None-Match": "*"}),
    _call("list_events", 401, "GET /audit"),
    _call("list_events", 403, "GET /audit", "alice"),
    _call("list_events", 422, "GET /audit?event=nonsense&user_id=0", "carol"),
    _call("list_users", 200, "GET /users", "alice"),
    _call("list_users", 200, "GET /users?limit=1&sort=-name", "carol"),
    _call("list_users", 304, "GET /users", "alice", headers={"If-None-Match": "*"}),
    _call("list_users", 401, "GET /users"),
    _call("list_users", 422, "GET /users?limit=0&cursor=x", "alice"),
    _call("create_user", 201, "POST /users", "carol", body=DAVE, headers=KEY),
    _call("create_user", 401, "POST /users", body=DAVE),
    _call("create_user", 403, "POST /users", "alice", body=DAVE),
    _call("create_user", 409, "POST /users", "carol", body={**DAVE, "email": "bob@example.com"}),
    _call("create_user", 422, "POST /users", "carol", body={**DAVE, "role": "owner"}),
    _call("get_user", 200, "GET /users/{alice}"),
    _call("get_user", 200, "GET /users/{alice}", "alice"),
    _call("get_user", 304, "GET /users/{alice}", headers={"If-None-Match": "*"}),
    _call("get_user", 401, "GET /users/{alice}", headers={"Authorization": "Bearer rubbish"}),
    _call("get_user", 404, "GET /users/{missing}"),
    _call("replace_user", 200, "PUT /users/{alice}", "alice", body=PROFILE),
    _call("replace_user", 401, "PUT /users/{alice}", body=PROFILE),
    _call("replace_user", 403, "PUT /users/{alice}", "bob", body=PROFILE),
    _call("replace_user", 404, "PUT /users/{missing}", "carol", body=PROFILE),
    _call("replace_user", 412, "PUT /users/{alice}", "alice", body=PROFILE, headers=STALE),
    _call("replace_user", 422, "PUT /users/{alice}", "alice", has_body=True),
    _call("update_user", 200, "PATCH /users/{bob}", "carol", body={"is_active": False}),
    _call("update_user", 401, "PATCH /users/{alice}", body=PROFILE),
    _call("update_user", 403, "PATCH /users/{alice}", "alice", body={"role": "admin"}),
    _call("update_user", 409, "PATCH /users/{carol}", "carol", body={"role": "user"}),
    _call("update_user", 422, "PATCH /users/{alice}", "alice", body={"name": "\x00"}),
    _call("delete_user", 204, "DELETE /users/{alice}", "alice"),
    _call("delete_user", 401, "DELETE /users/{alice}"),
    _call("delete_user", 403, "DELETE /users/{alice}", "bob"),
    _call("delete_user", 404, "DELETE /users/{missing}", "carol"),
    _call("delete_user", 409, "DELETE /users/{carol}", "carol"),
    _call("delete_user", 412, "DELETE /users/{alice}", "alice", headers=STALE),
    _call("export_user", 200, "GET /users/{alice}/export", "alice"),
    _call("export_user", 401, "GET /users/{alice}/export"),
    _call("export_user", 403, "GET /users/{alice}/export", "carol"),
    _call("list_posts", 200, "GET /posts"),
    _call("list_posts", 200, "GET /posts?status=draft&page=1", "alice"),
    _call("list_posts", 304, "GET /posts", headers={"If-None-Match": "*"}),
    _call("list_posts", 401, "GET /posts?status=draft"),
    _call("list_posts", 422, "GET /posts?created_after=yesterday&author_id=0"),
    _call("create_post", 201, "POST /posts", "alice", body=POST, headers=KEY),
    _call("create_post", 401, "POST /posts", body=POST),
    _call("create_post", 422, "POST /posts", "alice", body={"title": " "}),
    _call("create_post", 422, "POST /posts", "alice", body=POST, headers={"Idempotency-Key": "a key"}),
    _call("get_post", 200, "GET /posts/{post}"),
    _call("get_post", 200, "GET /posts/{draft}", "alice"),
    _call("get_post", 304, "GET /posts/{post}", headers={"If-None-Match": "{etag}"}),
    _call("get_post", 404, "GET /posts/{draft}"),
    _call("replace_post", 200, "PUT /posts/{post}", "alice", body=POST, headers={"If-Match": "{etag}"}),
    _call("replace_post", 401, "PUT /posts/{post}", body=POST),
    _call("replace_post", 403, "PUT /posts/{post}", "bob", body=POST),
    _call("replace_post", 404, "PUT /posts/{draft}", "bob", body=POST),
    _call("replace_post", 412, "PUT /posts/{post}", "alice", body=POST, headers=STALE),
    _call("replace_post", 422, "PUT /posts/{post}", "alice", body={"title": "Alone"}),
    _call("update_post", 200, "PATCH /posts/{post}", "carol", body={"status": "draft"}),
    _call("update_post", 401, "PATCH /posts/{post}", body={"title": "Mine"}),
    _call("update_post", 403, "PATCH /posts/{post}", "bob", body={"title": "Mine"}),
    _call("update_post", 404, "PATCH /posts/{missing}", "bob", body={"title": "Mine"}),
    _call("update_post", 422, "PATCH /posts/{post}", "alice", body={"id": 1}),
    _call("delete_post", 204, "DELETE /posts/{post}", "alice"),
    _call("delete_post", 401, "DELETE /posts/{post}"),
    _call("delete_post", 403, "DELETE /posts/{post}", "bob"),
    _call("delete_post", 404, "DELETE /posts/{missing}", "alice"),
    _call("delete_post", 422, "DELETE /posts/{post}", "alice", body={"surprise": 1}),
    _call("list_posts_of", 200, "GET /users/{alice}/posts"),
    _call("list_posts_of", 200, "GET /users/{alice}/posts?page=1", "alice"),
    _call("list_posts_of", 401, "GET /users/{alice}/posts?status=draft"),
    _call("list_posts_of", 403, "GET /users/{alice}/posts?status=draft", "bob"),
    _call("list_posts_of", 404, "GET /users/{missing}/posts"),
    _call("list_posts_of", 422, "GET /users/{alice}/posts?page=501"),
    _call("get_context", 200, "GET /service-context", "carol"),
    _call("get_context", 304, "GET /service-context", "carol", headers={"If-None-Match": "*"}),
    _call("get_context", 401, "GET /service-context"),
    _call("get_context", 403, "GET /service-context", "alice"),
    _call("update_context", 200, "PATCH /service-context", "carol", body=CONTEXT),
    _call("update_context", 401, "PATCH /service-context", body=CONTEXT),
    _call("update_context", 403, "PATCH /service-context", "alice", body=CONTEXT),
    _call("update_context", 412, "PATCH /service-context", "carol", body=CONTEXT, headers=STALE),
    _call("update_context", 422, "PATCH /service-context", "carol", body={"maintenance": "on"}),
]
