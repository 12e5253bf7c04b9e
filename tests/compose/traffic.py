"""Clients at work while the stack is changed: what they were told, and what is there of it."""

from __future__ import annotations

import http.client
import json
import select
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.compose.deployment import Deployment
from tests.conftest import API
from tests.support.crowd import CLIENTS, Crowd
from tests.support.services import LOOPBACK

PAUSE_SECONDS = 0.05
FAILED = 0


class Traffic(Crowd):
    """Clients that keep their connections, and read and write in turn."""

    def __init__(self, deployment: Deployment) -> None:
        self.acknowledged: list[str] = []
        self.connections = 0
        self.repeated = 0
        self._deployment = deployment
        self._token = deployment.register()["access_token"]
        self._lock = threading.Lock()
        super().__init__()

    def check(self) -> None:
        """Assert that nothing failed, and that every acknowledged write is there once."""
        assert set(self.statuses) == {("GET", 200), ("POST", 201)}, self.statuses
        stored = self._deployment.sql("SELECT title FROM posts WHERE content = 'traffic'").split()
        assert sorted(stored) == sorted(self.acknowledged)
        # It was on kept connections, of which each may meet the moment when nginx closes it: once, not all the time.
        assert self.connections < len(self.acknowledged) / 5
        assert self.repeated <= CLIENTS

    def work_as(self, number: int) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, self._deployment.port, timeout=30)
        count = 0
        while not self.over.wait(PAUSE_SECONDS):
            count += 1
            title = f"{number}-{count}"
            self._note("GET", self._ask(connection, "GET", f"{API}/posts?limit=1"), "")
            post = {"title": title, "content": "traffic"}
            self._note("POST", self._ask(connection, "POST", f"{API}/posts", post), title)
        connection.close()

    def _note(self, method: str, status: int, title: str) -> None:
        with self._lock:
            self.statuses[method, status] += 1
            if status == 201:
                self.acknowledged.append(title)

    def _ask(self, connection: http.client.HTTPConnection, method: str, path: str, payload: Any = None) -> int:
        """Make a request and return its status, FAILED if there was no answer.

        A server may close a kept connection while a request is on its way (RFC 9112, 9.5). So clients look before
        they write, and repeat what met a close all the same, on a new connection: safely, thanks to the key.
        """
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        if payload is not None:
            headers["Idempotency-Key"] = f"traffic-{payload['title']}"
        body = None if payload is None else json.dumps(payload)
        if connection.sock and select.select([connection.sock], [], [], 0)[0]:
            connection.close()
        was_kept = connection.sock is not None
        try:
            if not was_kept:
                connection.connect()
                with self._lock:
                    self.connections += 1
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            response.read()
        except ConnectionError:
            connection.close()
            if not was_kept:
                return FAILED
            with self._lock:
                self.repeated += 1
            return self._ask(connection, method, path, payload)
        except (OSError, http.client.HTTPException):
            connection.close()
            return FAILED
        return response.status


@contextmanager
def traffic(deployment: Deployment) -> Iterator[Traffic]:
    """Let clients work as long as the block lasts, on a service that holds nothing yet."""
    deployment.empty()
    clients = Traffic(deployment)
    try:
        yield clients
    finally:
        clients.end()
