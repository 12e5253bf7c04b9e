"""What a client must see of an outage, and what it must not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import text

from tests.concurrency.race import Arena, Reply, race

# Guards against hanging, at least five times what is promised: a refusal within 2 s, readiness within 1 s, /health at
# once, and the first success within 3 s of the end of an outage.
REFUSED_WITHIN_SECONDS = 10.0
READY_WITHIN_SECONDS = 5.0
HEALTHY_WITHIN_SECONDS = 5.0
RECOVERS_WITHIN_SECONDS = 15.0
POST = {"title": "Hello", "content": "My first post."}


class Visitor:
    """A user who was signed in, and had written a post, before things went wrong."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.member = arena.join()
        self.token = self.member.log_in().access
        self.post_id = int(self.write().json["id"])

    def read(self) -> Reply:
        """Read a post without credentials."""
        return self.arena.call("GET", f"/posts/{self.post_id}")

    def look(self) -> Reply:
        """Read oneself."""
        return self.arena.call("GET", "/auth/me", token=self.token)

    def write(self) -> Reply:
        """Write a post."""
        return self.arena.call("POST", "/posts", token=self.token, body=POST)

    def edit(self) -> Reply:
        """Change the post."""
        return self.arena.call("PATCH", f"/posts/{self.post_id}", token=self.token, body={"title": "Changed"})

    def log_in(self) -> Reply:
        """Begin another session."""
        return self.member.try_to_log_in()

    @property
    def ways(self) -> list[Callable[[], Reply]]:
        """Everything that needs the database."""
        return [self.read, self.look, self.write, self.edit, self.log_in]


def assert_refused(replies: list[Reply], within: float = REFUSED_WITHIN_SECONDS) -> None:
    """Check that each was told of the outage, in time."""
    for reply in replies:
        assert reply.outcome == (503, "database_unavailable"), reply.content
        assert reply.headers["retry-after"] == "1"
        assert reply.seconds < within


def assert_served(replies: list[Reply]) -> None:
    """Check that each got what it asked for."""
    failed = [reply.content for reply in replies if reply.status not in (200, 201)]
    assert not failed, failed


def assert_alive_but_unready(arena: Arena) -> None:
    """Check what probes are told during an outage."""
    health, ready = arena.call("GET", "/health"), arena.call("GET", "/health/ready")
    assert (health.status, health.json) == (200, {"status": "healthy"})
    assert health.seconds < HEALTHY_WITHIN_SECONDS
    assert ready.status == 503
    assert ready.headers["content-type"] == "application/json"
    assert ready.json.items() >= {"status": "unready", "database": "unavailable"}.items()
    assert ready.seconds < READY_WITHIN_SECONDS


def assert_ready(arena: Arena) -> None:
    """Check what probes are told when all is well."""
    reply = arena.call("GET", "/health/ready")
    assert (reply.status, reply.json["status"]) == (200, "ready")


def wait_until_served(act: Callable[[], Reply]) -> Reply:
    """Repeat a request until it is served: after an outage, the circuit breaker closes within a second or so."""
    ends = time.monotonic() + RECOVERS_WITHIN_SECONDS
    while (reply := act()).status not in (200, 201):
        assert reply.outcome == (503, "database_unavailable"), reply.content
        assert time.monotonic() < ends
        time.sleep(0.05)
    return reply


def fill_pools(visitor: Visitor) -> None:
    """Let every worker open several connections, so that some wait in its pool."""
    assert_served(race(*[visitor.look, visitor.write] * 8))


@contextmanager
def held(arena: Arena, statement: str, **parameters: Any) -> Iterator[None]:
    """Hold the locks that `statement` takes, in a transaction of somebody else's."""
    with arena.engine.connect() as connection:
        connection.execute(text(statement), parameters)
        try:
            yield
        finally:
            connection.rollback()


def held_post(visitor: Visitor) -> Any:
    """Hold the row of the visitor's post."""
    return held(visitor.arena, "SELECT id FROM posts WHERE id = :id FOR UPDATE", id=visitor.post_id)


def each(visitor: Visitor, times: int = 1) -> list[Reply]:
    """Do everything, one after the other."""
    return [way() for way in visitor.ways * times]


def all_at_once(visitor: Visitor, times: int = 1) -> list[Reply]:
    """Do everything at one moment."""
    return race(*(partial(way) for way in visitor.ways * times))
