"""The users of the tests: Alice owns things, Bob is a stranger, Carol is the administrator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from argon2 import PasswordHasher
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.auth import sessions
from app.auth.sessions import Client, Grant
from app.auth.tokens import make_access_token, make_refresh_token
from app.database import transaction
from app.security import passwords
from app.users.service import create_user

API = "/api/v1"
PASSWORD = "correct horse battery"


class ClosingClient(FlaskClient):
    """A client that reads each response to its end and closes it, as a server does."""

    def open(self, *args: Any, buffered: bool = True, **kwargs: Any) -> TestResponse:
        """Send a request."""
        return super().open(*args, buffered=buffered, **kwargs)


@dataclass
class Person:
    """A user who is signed in; calls the API as that user."""

    id: int
    name: str
    email: str
    grant: Grant = field(repr=False)
    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    client: FlaskClient = field(repr=False)

    @property
    def session_id(self) -> int:
        """The id of the session."""
        return self.grant.session_id

    @property
    def headers(self) -> dict[str, str]:
        """The credentials of every call."""
        return {"Authorization": f"Bearer {self.access_token}"}

    def call(self, method: str, path: str, **options: Any) -> TestResponse:
        """Call `path` below the API's base path; `json`, `headers` and such as for Flask's test client."""
        headers = {**self.headers, **options.pop("headers", {})}
        return self.client.open(API + path, method=method, headers=headers, **options)

    def get(self, path: str, **options: Any) -> TestResponse:
        """GET `path`."""
        return self.call("GET", path, **options)

    def post(self, path: str, **options: Any) -> TestResponse:
        """POST to `path`."""
        return self.call("POST", path, **options)

    def put(self, path: str, **options: Any) -> TestResponse:
        """PUT to `path`."""
        return self.call("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> TestResponse:
        """PATCH `path`."""
        return self.call("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> TestResponse:
        """DELETE `path`."""
        return self.call("DELETE", path, **options)


PRODUCTION_HASHER = passwords._HASHER
# The least time, memory and lanes that Argon2 allows. A hash with the parameters of production takes 25 ms.
QUICK = (1, 8, 1)


@cache
def password_hash(hasher: PasswordHasher = PRODUCTION_HASHER) -> str:
    """Return the hash of PASSWORD, made once: by default one that a server need not renew."""
    return hasher.hash(PASSWORD)


def quick_password_hash() -> str:
    """Return the hash of PASSWORD that this process need not renew."""
    return password_hash(passwords._HASHER)


Cast = Callable[..., Person]


def join(app: Flask, name: str, role: str = "user", *, fresh: bool = True) -> Person:
    """Add a user with a session. Without `fresh` the access token is that of a refresh, not of a login."""
    email = f"{name.lower()}@example.com"
    with app.app_context():
        with transaction():
            user = create_user(email, name, quick_password_hash(), role)
            grant = sessions.open_session(user.id, Client("127.0.0.1", "pytest"))
        access = make_access_token(grant, fresh=fresh)
        refresh = make_refresh_token(grant, lifetime=timedelta(days=7))
    return Person(user.id, name, email, grant, access, refresh, app.test_client())


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **span: float) -> None:
        """Let time pass, as timedelta counts it."""
        self.now += timedelta(**span)


def problem(response: TestResponse) -> tuple[int, str]:
    """Return status and code of a refusal, after checking that it is a problem document."""
    assert response.mimetype == "application/problem+json", response.text
    document = response.get_json()
    assert document["status"] == response.status_code
    assert document["request_id"] == response.headers["X-Request-ID"]
    assert document["type"] == "/problems/" + document["code"].replace("_", "-")
    return response.status_code, document["code"]
