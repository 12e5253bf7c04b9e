"""A client during a database outage, and checks of the responses that it must get."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import text

from gatepost.testing.races import Arena, Reply, race

# Guards against hanging, at least five times what is promised: a refusal within 2 s, readiness within 1 s, /health at
# once, and the first success within 3 s of the end of an outage.
REFUSED_WITHIN_SECONDS = 10.0
READY_WITHIN_SECONDS = 5.0
HEALTHY_WITHIN_SECONDS = 5.0
RECOVERS_WITHIN_SECONDS = 15.0
POST = {"title": "Hello", "content": "My first post."}


class Visitor:
    """A user who has signed in and created a post before the outage."""

    def __init__(self, arena: Arena) -> None:
        self.arena = arena
        self.member = arena.join()
        self.token = self.member.log_in().access
        self.post_id = int(self.write().json["id"])

    def read(self) -> Reply:
        """Read a post without credentials."""
        return self.arena.call("GET", f"/posts/{self.post_id}")

    def look(self) -> Reply:
        """Read the own account."""
        return self.arena.call("GET", "/auth/me", token=self.token)

    def write(self) -> Reply:
        """Write a post."""
        return self.arena.call("POST", "/posts", token=self.token, body=POST)

    def edit(self) -> Reply:
        """Change the post."""
        return self.arena.call("PATCH", f"/posts/{self.post_id}", token=self.token, body={"title": "Changed"})

    def log_in(self) -> Reply:
        """Log in."""
        return self.member.try_to_log_in()

    @property
    def ways(self) -> list[Callable[[], Reply]]:
        """All requests of this class; each needs the database."""
        return [self.read, self.look, self.write, self.edit, self.log_in]


def assert_refused(replies: list[Reply], within: float = REFUSED_WITHIN_SECONDS) -> None:
    """Check that each response is 503 database_unavailable and arrived in time."""
    for reply in replies:
        assert reply.outcome == (503, "database_unavailable"), reply.content
        assert reply.headers["retry-after"] == "1"
        assert reply.seconds < within


def assert_served(replies: list[Reply]) -> None:
    """Check that each response is successful."""
    failed = [reply.content for reply in replies if reply.status not in (200, 201)]
    assert not failed, failed


def assert_alive_but_unready(arena: Arena) -> None:
    """Check the responses of the probes during an outage."""
    health, ready = arena.call("GET", "/health"), arena.call("GET", "/health/ready")
    assert (health.status, health.json) == (200, {"status": "healthy"})
    assert health.seconds < HEALTHY_WITHIN_SECONDS
    assert ready.status == 503
    assert ready.headers["content-type"] == "application/json"
    assert ready.json.items() >= {"status": "unready", "database": "unavailable"}.items()
    assert ready.seconds < READY_WITHIN_SECONDS


def assert_ready(arena: Arena) -> None:
    """Check that readiness is 200."""
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
    """Make every worker open several connections, so that its pool contains idle ones."""
    ends = time.monotonic() + RECOVERS_WITHIN_SECONDS
    replies = race(*[visitor.look, visitor.write] * 8)
    # On a busy machine opening so many connections at the same time can take longer than the deadline.
    while time.monotonic() < ends and not all(reply.status in (200, 201) for reply in replies):
        replies = race(*[visitor.look, visitor.write] * 8)
    assert_served(replies)


@contextmanager
def held(arena: Arena, statement: str, **parameters: Any) -> Iterator[None]:
    """Hold the locks of `statement` in a separate transaction during the block."""
    with arena.engine.connect() as connection:
        connection.execute(text(statement), parameters)
        try:
            yield
        finally:
            connection.rollback()


def held_post(visitor: Visitor) -> Any:
    """Lock the row of the visitor's post during the block."""
    return held(visitor.arena, "SELECT id FROM posts WHERE id = :id FOR UPDATE", id=visitor.post_id)


def each(visitor: Visitor, times: int = 1) -> list[Reply]:
    """Send all requests, one after the other."""
    return [way() for way in visitor.ways * times]


def all_at_once(visitor: Visitor, times: int = 1) -> list[Reply]:
    """Send all requests at the same time."""
    return race(*(partial(way) for way in visitor.ways * times))
