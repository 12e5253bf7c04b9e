"""The server under test, started as in production, and its rows, which no refused request may change."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import Any

from flask import Flask
from sqlalchemy import create_engine, delete, insert, select, text, update

from app import create_app
from app.auth import sessions
from app.auth.sessions import Client
from app.auth.tokens import make_access_token, make_refresh_token
from app.components import components_of
from app.database import Base, db, transaction
from app.posts.models import Post
from app.users.models import User
from app.users.service import create_user
from gatepost.testing.services import LOOPBACK
from gatepost.testing.services.gatepost import GatepostServer
from tests.auth.support import KEY
from tests.conftest import PATIENT, migrate, password_hash, settings_for

Rows = dict[str, list[dict[str, Any]]]
ORIGIN = "https://app.example.com"
# Every database is empty at first, so these are the ids of the users and of what they own.
ALICE, BOB, CAROL, DORA, ERNA = 1, 2, 3, 4, 5
PUBLISHED, DRAFT = 1, 2
PEOPLE = {"alice": ALICE, "bob": BOB, "carol": CAROL, "dora": DORA, "erna": ERNA}
# Refused requests write to these tables too, because they record events.
KEPT = frozenset({"auth_events"})
WAIT_SECONDS = 60


@dataclass(frozen=True)
class Answer:
    """One HTTP response as received."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        """Return the parsed body."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Tokens:
    """The tokens and the session of a user."""

    access: str
    refresh: str
    # The access token of a refresh, which is not fresh.
    stale: str


class Target:
    """A server, and a second connection to its database.

    Alice owns, Bob is a stranger, Carol is the administrator, Dora is disabled, Erna's session was revoked.
    """

    def __init__(self, server: GatepostServer, app: Flask) -> None:
        self.server = server
        self.app = app
        self.people = _populate(app)
        # A separate connection, kept open: it reads all rows after each case.
        url = components_of(app).settings.database_url
        self.eye = create_engine(url, isolation_level="AUTOCOMMIT").connect()
        self.rows = self._read_rows()
        self.mark = self._fingerprint()

    @property
    def alice(self) -> Tokens:
        """The tokens of the owner."""
        return self.people["alice"]

    @cached_property
    def _tables(self) -> list[Any]:
        names = components_of(self.app).tables - KEPT
        return [table for table in Base.metadata.sorted_tables if table.name in names]

    def is_whole(self) -> bool:
        """Return whether all rows of the tables that a refused request must not change are as they were at first."""
        return bool(self._fingerprint() == self.mark)

    def _fingerprint(self) -> Any:
        if self.eye.dialect.name == "sqlite":
            return self._read_rows()
        # One round trip for all tables.
        rows = " UNION ALL ".join(f"SELECT '{t.name}', to_jsonb(r)::text FROM {t.name} r" for t in self._tables)
        return self.eye.execute(text(f"{rows} ORDER BY 1, 2")).all()

    def _read_rows(self) -> Rows:
        return {
            table.name: [dict(row) for row in self.eye.execute(select(table).order_by(*table.c)).mappings()]
            for table in self._tables
        }

    def restore(self) -> None:
        """Restore all rows to their first state."""
        with self.app.app_context(), db.engine.begin() as connection:
            for table in reversed(self._tables):
                connection.execute(delete(table))
            for table in self._tables:
                if self.rows[table.name]:
                    connection.execute(insert(table), self.rows[table.name])

    def send(self, data: bytes) -> Answer:
        """Send bytes and return the response to the first request in them."""
        with socket.create_connection((LOOPBACK, self.server.port), timeout=WAIT_SECONDS) as client:
            _send_what_is_taken(client, data)
            response = http.client.HTTPResponse(client, method=data.partition(b" ")[0].decode("latin-1"))
            response.begin()
            return Answer(response.status, response.headers, response.read())

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the lines of the log, each of which must be one JSON object."""
        return [json.loads(line) for line in self.server.log_text().splitlines()]


def _send_what_is_taken(client: socket.socket, data: bytes) -> None:
    # A server that refuses early closes the connection during this write; its response can be read nevertheless.
    with suppress(BrokenPipeError, ConnectionResetError):
        client.sendall(data)


def message(
    method: str, path: str, headers: Mapping[str, str] | Iterable[tuple[str, str]] = (), body: bytes | str = b""
) -> bytes:
    """Return the bytes of a request, with `Host`, `Connection: close` and `Content-Length` unless they are given."""
    content = body.encode() if isinstance(body, str) else body
    fields = list(headers.items()) if isinstance(headers, Mapping) else [*headers]
    names = {name.lower() for name, _ in fields}
    if "host" not in names:
        fields.insert(0, ("Host", "api.example.com"))
    if "connection" not in names:
        fields.append(("Connection", "close"))
    if content and not names & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(content))))
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1") + content


def _populate(app: Flask) -> dict[str, Tokens]:
    """Add the users, their sessions and Alice's two posts; return the tokens of each user."""
    with app.app_context():
        with transaction():
            people = {name: _join(name, app) for name in PEOPLE}
        with transaction():
            for title, status in (("Published", "published"), ("Draft", "draft")):
                db.session.add(_post(title, status))
                db.session.flush()
            db.session.execute(update(User).where(User.id == DORA).values(is_active=False))
            sessions.end_session(ERNA, ERNA, "logout")
    return people


def _join(name: str, app: Flask) -> Tokens:
    user = create_user(
        f"{name}@example.com", name.title(), password_hash(), role="admin" if name == "carol" else "user"
    )
    grant = sessions.open_session(user.id, Client("127.0.0.1", "hostile"))
    assert user.id == grant.session_id == PEOPLE[name]
    return Tokens(
        make_access_token(grant, fresh=True),
        make_refresh_token(grant, lifetime=timedelta(days=7)),
        make_access_token(grant, fresh=False),
    )


def _post(title: str, status: str) -> Post:
    now = db.session.get_one(User, ALICE).created_at
    published_at = now if status == "published" else None
    return Post(
        author_id=ALICE,
        title=title,
        content="Text",
        status=status,
        published_at=published_at,
        created_at=now,
        updated_at=now,
    )


@contextmanager
def serving(url: str, **env: str) -> Iterator[Target]:
    """Run a server on a new database with the users, sessions and posts."""
    migrate(url)
    app = create_app(settings_for(url, access_token_minutes=120))
    environment = {
        "DATABASE_URL": url,
        "JWT_SECRET_KEY": KEY,
        "CORS_ORIGINS": ORIGIN,
        "LOG_FORMAT": "json",
        "RATELIMIT_ENABLED": "false",
        **PATIENT,
        **env,
    }
    with GatepostServer(environment) as server:
        target = Target(server, app)
        yield target
        target.eye.close()
        target.eye.engine.dispose()
    with app.app_context():
        db.engine.dispose()
        components_of(app).probe_engine.dispose()
