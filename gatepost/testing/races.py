"""Calls to a running server, one after the other or simultaneously, with the standard library's HTTP client."""

from __future__ import annotations

import base64
import http.client
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self, TypeVar

import psutil
from sqlalchemy import Engine, NullPool, create_engine, insert, select, text, update

from app.auth.models import Session
from app.users.models import User
from gatepost.testing.cast import API, PASSWORD, password_hash
from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.gatepost import GatepostServer

T = TypeVar("T")
CLIENT_TIMEOUT_SECONDS = 120
# The REFRESH_GRACE_SECONDS of the shared server. Tests do not wait for its end: they date the rotation back.
GRACE_SECONDS = 60
# Shorter than Retry-After, so that the requests still compete.
RETRY_SECONDS = 0.02


@dataclass(frozen=True)
class Reply:
    """A response, and the seconds from the first byte sent to the last byte read."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    seconds: float

    @property
    def json(self) -> Any:
        """Return the JSON document in the body."""
        return json.loads(self.content)

    @property
    def outcome(self) -> tuple[int, str]:
        """Return the status and the code of the problem document, or ""."""
        is_problem = self.headers.get("content-type") == "application/problem+json"
        return self.status, self.json["code"] if is_problem else ""


def call(
    server: GatepostServer,
    method: str,
    path: str,
    *,
    token: str | None = None,
    body: object = None,
    headers: Mapping[str, str] | None = None,
) -> Reply:
    """Send one request on a new connection. `path` is relative to the API's base path, or absolute such as /health."""
    sent = dict(headers or {})
    if token is not None:
        sent["Authorization"] = f"Bearer {token}"
    if body is not None:
        sent["Content-Type"] = "application/json"
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=CLIENT_TIMEOUT_SECONDS)
    target = path if path.startswith("/health") else API + path
    started = time.perf_counter()
    try:
        connection.request(method, target, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    received = {name.lower(): value for name, value in response.getheaders()}
    return Reply(response.status, received, content, time.perf_counter() - started)


def race(*calls: Callable[[], T]) -> list[T]:
    """Run each call in its own thread, all released at the same moment; return their results in order."""
    barrier = threading.Barrier(len(calls))

    def run(one: Callable[[], T]) -> T:
        barrier.wait()
        return one()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def outcomes(replies: Sequence[Reply]) -> set[tuple[int, str]]:
    """Return the set of outcomes of some replies."""
    return {reply.outcome for reply in replies}


@contextmanager
def only_worker(server: GatepostServer, pid: int) -> Iterator[None]:
    """Stop all worker processes but one, so that this one responds."""
    others = [psutil.Process(other) for other in server.worker_pids() if other != pid]
    for process in others:
        process.suspend()
    try:
        yield
    finally:
        for process in others:
            process.resume()


def on_every_worker(server: GatepostServer, request: Callable[[], T]) -> list[T]:
    """Send the same request or requests to each worker process in turn."""
    replies = []
    pids = server.worker_pids()
    assert len(pids) > 1
    for pid in pids:
        with only_worker(server, pid):
            replies.append(request())
    return replies


@dataclass(frozen=True)
class Tokens:
    """The tokens that a login or a refresh returned."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)


def tokens_of(reply: Reply) -> Tokens:
    """Return the tokens of a successful response."""
    assert reply.status in (200, 201), reply.content
    return Tokens(reply.json["access_token"], reply.json["refresh_token"])


def generation(refresh_token: str) -> int:
    """Return the `gen` claim of a refresh token."""
    payload = refresh_token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return int(claims["gen"])


@dataclass(frozen=True)
class Arena:
    """A server and its database, with functions to add users and to call the API."""

    server: GatepostServer
    engine: Engine

    @classmethod
    def of(cls, server: GatepostServer) -> Self:
        """Return the arena of a server. It connects to the database when needed."""
        url = server.database_url.replace("postgresql://", "postgresql+psycopg2://")
        return cls(server, create_engine(url, poolclass=NullPool))

    @contextmanager
    def watched(self) -> Iterator[Self]:
        """Check that the server logs no unhandled exception during the block."""
        before = len(self.server.log_text())
        yield self
        log = self.server.log_text()[before:]
        surprise = re.search(r"unhandled exception|Traceback", log)
        assert surprise is None, log[surprise.start() :][:5000]

    def call(self, method: str, path: str, **options: Any) -> Reply:
        """Send one request, and again while it is refused because all hash slots are taken, as a client does."""
        deadline = time.monotonic() + CLIENT_TIMEOUT_SECONDS
        reply = call(self.server, method, path, **options)
        while reply.outcome == (503, "overloaded") and time.monotonic() < deadline:
            time.sleep(RETRY_SECONDS)
            reply = call(self.server, method, path, **options)
        return reply

    def rows(self, statement: str, **parameters: object) -> list[Any]:
        """Return the rows of a SELECT."""
        with self.engine.connect() as connection:
            return list(connection.execute(text(statement), parameters))

    def number(self, statement: str, **parameters: object) -> int:
        """Return the single number that a statement selects."""
        return int(self.rows(statement, **parameters)[0][0])

    def age_rotations(self, seconds: float) -> None:
        """Date the latest rotation of every session back by some seconds, as if that time had passed."""
        with self.engine.begin() as connection:
            for row in connection.execute(select(Session.id, Session.rotated_at)).all():
                earlier = row.rotated_at - timedelta(seconds=seconds)
                connection.execute(update(Session).where(Session.id == row.id).values(rotated_at=earlier))

    def join(self, role: str = "user") -> Member:
        """Insert an account directly into the database, without hashing a password."""
        email = f"{secrets.token_hex(8)}@example.com"
        now = datetime.now(UTC)
        row = {
            "email": email,
            "email_key": email,
            "name": "Member",
            "name_key": "member",
            "bio": "",
            "role": role,
            "password_hash": password_hash(),
            "created_at": now,
            "updated_at": now,
        }
        with self.engine.begin() as connection:
            user_id = connection.execute(insert(User).values(row).returning(User.id)).scalar_one()
        return Member(self, user_id, email)


@dataclass(frozen=True)
class Member:
    """An account of the arena."""

    arena: Arena
    id: int
    email: str

    def try_to_log_in(self, password: str = PASSWORD) -> Reply:
        """Send a login request."""
        return self.arena.call("POST", "/auth/login", body={"email": self.email, "password": password})

    def log_in(self, password: str = PASSWORD) -> Tokens:
        """Log in and return the tokens."""
        return tokens_of(self.try_to_log_in(password))

    def live_sessions(self) -> int:
        """Return the number of sessions that are not revoked."""
        statement = "SELECT count(*) FROM sessions WHERE user_id = :id AND revoked_at IS NULL"
        return self.arena.number(statement, id=self.id)


def refresh(arena: Arena, tokens: Tokens) -> Reply:
    """Send a refresh request."""
    return arena.call("POST", "/auth/refresh", token=tokens.refresh)


def change_password(arena: Arena, access_token: str, old: str, new: str) -> Reply:
    """Send a request to change the password."""
    body = {"current_password": old, "new_password": new}
    return arena.call("POST", "/auth/password", token=access_token, body=body)
