"""Concurrent clients that read and write while a test changes the service that they use."""

from __future__ import annotations

import http.client
import json
import select
import threading
import time
from collections import Counter
from typing import Any, Self

from gatepost.testing.services import LOOPBACK

API = "/api/v1"
CLIENTS = 4
TIMEOUT_SECONDS = 60
# In place of a status: there was no response, or it broke off after its head.
FAILED, BROKEN_OFF = 0, -1


class Crowd:
    """Clients, each a thread that reads and creates posts alternately on a connection that it keeps open.

    A context manager: the clients finish their requests at the end of the block. `written` has the titles of the posts
    whose creation was confirmed, `statuses` the number of responses by method and status, `codes` that of errors by the
    code of the problem document.
    """

    def __init__(self, port: int, token: str, *, content: str = "traffic", pause_seconds: float = 0.0) -> None:
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.codes: Counter[str] = Counter()
        self.written: list[str] = []
        self.connections = 0
        self.repeated = 0
        self._port, self._token, self._content, self._pause_seconds = port, token, content, pause_seconds
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._work_as, args=(number,)) for number in range(CLIENTS)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def work(self, requests: int = 40) -> None:
        """Wait until this many further requests have been answered."""
        enough, deadline = self.statuses.total() + requests, time.monotonic() + TIMEOUT_SECONDS
        while self.statuses.total() < enough:
            assert time.monotonic() < deadline, self.statuses
            time.sleep(0.05)

    def _work_as(self, number: int) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=TIMEOUT_SECONDS)
        count = 0
        while not self._over.wait(self._pause_seconds):
            count += 1
            title = f"{number}-{count}"
            self._note("GET", self._ask(connection, "GET", f"{API}/posts?limit=1"), "")
            post = {"title": title, "content": self._content}
            self._note("POST", self._ask(connection, "POST", f"{API}/posts", post), title)
        connection.close()

    def _note(self, method: str, status: int, title: str) -> None:
        with self._lock:
            self.statuses[method, status] += 1
            if status == 201:
                self.written.append(title)

    def _ask(self, connection: http.client.HTTPConnection, method: str, path: str, payload: Any = None) -> int:
        """Send a request and return its status, FAILED or BROKEN_OFF.

        A server may close a kept connection while a request is on its way (RFC 9112 section 9.5); nginx does when it is
        reloaded. So a client checks the connection before it sends, and repeats a request without a response on a new
        connection. The Idempotency-Key makes that safe.
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
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            if isinstance(error, http.client.IncompleteRead):
                return BROKEN_OFF
            if not was_kept or not isinstance(error, ConnectionError):
                return FAILED
            with self._lock:
                self.repeated += 1
            return self._ask(connection, method, path, payload)
        if response.status >= 400:
            with self._lock:
                self.codes[json.loads(content)["code"]] += 1
        return response.status
