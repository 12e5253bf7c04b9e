"""The parts of a drill: writers that record acknowledged writes, a check of the database, and pollers of the probes.

The faults are in tests/faults/drills/.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine, text

from gatepost.testing.races import Member
from gatepost.testing.services import LOOPBACK
from tests.conftest import API, PASSWORD

CLIENT_TIMEOUT_SECONDS = 30
EDITS_A_POST = 2
# Registrations are rare, because hashing a password takes much longer than other writes.
POSTS_A_REGISTRATION = 20
PAUSE_AFTER_FAILURE_SECONDS = 0.05
SUCCESSES = (200, 201, 204)


class Outcome(NamedTuple):
    """One request: its start and end by time.monotonic(), and its result."""

    began: float
    ended: float
    label: str
    document: Any = None
    is_write: bool = False

    @property
    def seconds(self) -> float:
        """The duration of the request."""
        return self.ended - self.began

    @property
    def succeeded(self) -> bool:
        """Whether the response was successful."""
        return self.label in map(str, SUCCESSES)


def ask(
    port: int,
    method: str,
    path: str,
    *,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = CLIENT_TIMEOUT_SECONDS,
    kept: http.client.HTTPConnection | None = None,
) -> Outcome:
    """Send one request and return its outcome, also if the connection breaks. Never raises.

    Uses a new connection, or `kept`, which stays open for the next request.
    """
    sent = dict(headers or {}) | ({} if body is None else {"Content-Type": "application/json"})
    connection = kept or http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    began = time.monotonic()
    try:
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        content = response.read()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        return Outcome(began, time.monotonic(), _label_of(error), is_write=body is not None)
    if kept is None:
        connection.close()
    ended = time.monotonic()
    document = json.loads(content) if content else None
    code = document.get("code", "") if response.status >= 400 and isinstance(document, dict) else ""
    return Outcome(began, ended, f"{response.status} {code}".strip(), document, body is not None)


def _label_of(error: Exception) -> str:
    names = {TimeoutError: "timeout", ConnectionRefusedError: "refused"}
    return next((label for kind, label in names.items() if isinstance(error, kind)), "cut")


class Looping(threading.Thread):
    """A thread that repeats `step` until `finish` is called."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._finished = threading.Event()
        self.outcomes: list[Outcome] = []

    def run(self) -> None:
        """Repeat `step`."""
        while not self._finished.is_set():
            self.step()

    @abstractmethod
    def step(self) -> None:
        """Do one iteration."""

    @property
    def is_finished(self) -> bool:
        """Whether `finish` was called."""
        return self._finished.is_set()

    def finish(self) -> None:
        """Stop the thread after the current step."""
        self._finished.set()


def body_of(title: str) -> dict[str, str]:
    """Return a post whose title is repeated in its content, which is larger than a page of the database."""
    return {"title": title, "content": f"{title}; " * (4000 // len(title))}


class Writer(Looping):
    """A client that writes continuously. It flushes each acknowledged write to its journal before the next request.

    A new post is repeated with the same Idempotency-Key until it is acknowledged. An edit or a registration is not
    repeated.
    """

    # Between two posts.
    pause_seconds = 0.0

    def __init__(self, name: str, port: int, member: Member, journal: Path, *, keeps_connection: bool = False) -> None:
        super().__init__()
        self._kept = http.client.HTTPConnection(LOOPBACK, port, timeout=CLIENT_TIMEOUT_SECONDS)
        self._keeps_connection = keeps_connection
        self.name, self.port, self.member = name, port, member
        self.headers: dict[str, str] = {}
        self._journal = journal.open("a", encoding="utf-8")
        self._count = 0

    def log_in(self) -> None:
        """Start the session of all writes."""
        credentials = {"email": self.member.email, "password": PASSWORD}
        answer = ask(self.port, "POST", f"{API}/auth/login", body=credentials)
        self.headers = {"Authorization": f"Bearer {answer.document['access_token']}"}

    def step(self) -> None:
        """Create a post, edit it and read it; after every POSTS_A_REGISTRATION posts, register an account."""
        time.sleep(self.pause_seconds)
        self._count += 1
        key = f"{self.name}-{self._count}"
        if self._count % POSTS_A_REGISTRATION == 0:
            account = {"email": f"{key}@example.com", "name": key, "password": PASSWORD}
            if self._send("POST", "/auth/register", account).succeeded:
                self._note("account", key)
        post_id = self._create(key)
        if post_id is None:
            return
        for version in range(1, EDITS_A_POST + 1):
            title = f"{key} v{version}"
            if self._send("PATCH", f"/posts/{post_id}", body_of(title)).succeeded:
                self._note("post", key, post_id, version)
        self._send("GET", f"/posts/{post_id}")

    def _create(self, key: str) -> int | None:
        """Repeat a new post until it is acknowledged; return its id, or None if the thread is stopped before."""
        while not self.is_finished:
            answer = self._send("POST", "/posts", body_of(f"{key} v0"), {"Idempotency-Key": key})
            if answer.succeeded:
                post_id = int(answer.document["id"])
                self._note("post", key, post_id, 0)
                return post_id
        return None

    def _send(self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None) -> Outcome:
        sent, kept = self.headers | dict(headers or {}), self._kept if self._keeps_connection else None
        outcome = ask(self.port, method, API + path, body=body, headers=sent, kept=kept)
        self.outcomes.append(outcome._replace(document=None))
        if not outcome.succeeded:
            time.sleep(PAUSE_AFTER_FAILURE_SECONDS * random.uniform(0.5, 1.5))
        return outcome

    def _note(self, *words: object) -> None:
        self._journal.write(" ".join(map(str, words)) + "\n")
        self._journal.flush()
        os.fsync(self._journal.fileno())

    def close(self) -> None:
        """Close the journal and the connection, once the thread has ended."""
        self._journal.close()
        self._kept.close()


class Poller(Looping):
    """Polls one probe."""

    pause_seconds = 0.02

    def __init__(self, port: int, path: str) -> None:
        super().__init__()
        self.port, self.path = port, path
        self.redis: set[str] = set()

    def step(self) -> None:
        """Send one request."""
        outcome = ask(self.port, "GET", self.path)
        self.outcomes.append(outcome)
        if isinstance(outcome.document, dict) and "redis" in outcome.document:
            self.redis.add(outcome.document["redis"])
        time.sleep(self.pause_seconds)

    def seconds_until(self, label: str, since: float, *, asked_since: bool = True) -> float | None:
        """Return the seconds from `since` to the first response with this label; None if there was none.

        With `asked_since`, only requests that were sent after `since` count.
        """
        found = (o for o in self.outcomes if (o.began if asked_since else o.ended) >= since and o.label == label)
        return next((o.ended - since for o in found), None)


@dataclass(frozen=True)
class Verdict:
    """The differences between the database and the acknowledged writes."""

    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    half_done: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)


def check(engine: Engine, writers: Sequence[Writer], journals: Path) -> Verdict:
    """Compare the journals with the database. Requires that the writers have ended."""
    verdict, acknowledged = Verdict(), 0
    for writer in writers:
        lines = [line.split() for line in (journals / writer.name).read_text("utf-8").splitlines()]
        acknowledged += len(lines)
        _check_posts(engine, writer, [line[1:] for line in lines if line[0] == "post"], verdict)
        _check_accounts(engine, writer, [line[1] for line in lines if line[0] == "account"], verdict)
    return Verdict(acknowledged, verdict.lost, verdict.half_done, verdict.doubled)


def _rows(engine: Engine, statement: str, **parameters: object) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(statement), parameters))


def _check_posts(engine: Engine, writer: Writer, lines: Sequence[Sequence[str]], verdict: Verdict) -> None:
    user = writer.member.id
    posts = {
        post_id: (title, content)
        for post_id, title, content in _rows(
            engine, "SELECT id, title, content FROM posts WHERE author_id = :user", user=user
        )
    }
    # The post must have the newest acknowledged version, or a later one whose response was lost.
    newest = {int(post_id): (key, int(version)) for key, post_id, version in lines}
    for post_id, (key, version) in newest.items():
        found, _, kept = posts.get(post_id, ("", ""))[0].partition(" v")
        if found != key or int(kept) < version:
            verdict.lost.append(f"post {post_id} of {key} v{version}: {found} v{kept}")
    for title, content in posts.values():
        if content.rstrip() != body_of(title)["content"].rstrip():
            verdict.half_done.append(f"post {title}")
    _check_keys(engine, user, {post_id: title.partition(" v")[0] for post_id, (title, _) in posts.items()}, verdict)


def _check_keys(engine: Engine, user: int, keys: Mapping[int, str], verdict: Verdict) -> None:
    """Check that each post and the stored response of its key exist together: they are written in one transaction."""
    rows = _rows(engine, "SELECT key, location FROM idempotency_keys WHERE user_id = :user", user=user)
    kept = {int(location.rpartition("/")[2]): key for key, location in rows}
    verdict.half_done.extend(f"key and post {post_id}" for post_id in dict(keys.items() ^ kept.items()))
    verdict.doubled.extend(key for key, count in Counter(keys.values()).items() if count > 1)


def _check_accounts(engine: Engine, writer: Writer, names: Sequence[str], verdict: Verdict) -> None:
    """Check that each account has its first session: they are written in one transaction."""
    statement = """SELECT name, (SELECT count(*) FROM sessions WHERE user_id = users.id) FROM users
                   WHERE email LIKE :pattern"""
    found = dict(map(tuple, _rows(engine, statement, pattern=f"{writer.name}-%@example.com")))
    verdict.lost.extend(name for name in names if name not in found)
    verdict.half_done.extend(f"account {name}" for name, sessions in found.items() if sessions != 1)
