"""A TCP proxy before PostgreSQL: refuses, delays, redirects and closes connections, and drops responses to COMMIT."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

from gatepost.testing.services import LOOPBACK

CHUNK_BYTES = 65_536
COMMIT = b"COMMIT\0"


class Relay:
    """Forwards connections to `target_port`. A context manager. Does not support TLS."""

    def __init__(self, target_port: int) -> None:
        self._target = (LOOPBACK, target_port)
        self._flowing = threading.Event()
        self._flowing.set()
        self._pairs: set[Pair] = set()
        self._lock = threading.Lock()
        self._answers_to_lose = 0
        self.lost_answers = 0
        self._listener: socket.socket | None = None
        self.port = 0
        self.accept()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.refuse()
        self._flowing.set()

    def accept(self) -> None:
        """Accept connections. After `refuse`, on the same port as before."""
        if self._listener is not None:
            return
        listener = socket.create_server((LOOPBACK, self.port), backlog=128)
        self._listener, self.port = listener, listener.getsockname()[1]
        threading.Thread(target=self._serve, args=[listener], daemon=True).start()

    def refuse(self) -> None:
        """Close all connections and refuse new ones, like a firewall that rejects packets."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def swallow(self) -> None:
        """Delay all data and close nothing, like a firewall that drops packets, which TCP retransmits later."""
        self._flowing.clear()

    def pass_on(self) -> None:
        """Forward the delayed data, and all further data."""
        self._flowing.set()

    def switch(self, target_port: int) -> None:
        """Forward new connections to another port. Open connections stay where they are."""
        self._target = (LOOPBACK, target_port)

    def cut(self) -> None:
        """Close every open connection."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.close()

    def lose_commits(self, count: int) -> None:
        """For the next `count` COMMITs, close the connection before the server's response reaches the client."""
        with self._lock:
            self._answers_to_lose += count

    def take_commit(self) -> bool:
        """Return whether the response to this COMMIT is to be dropped."""
        with self._lock:
            if not self._answers_to_lose:
                return False
            self._answers_to_lose -= 1
            self.lost_answers += 1
            return True

    def wait(self) -> None:
        """Wait while data is delayed."""
        self._flowing.wait()

    def forget(self, pair: Pair) -> None:
        """Remove a closed pair."""
        with self._lock:
            self._pairs.discard(pair)

    def _serve(self, listener: socket.socket) -> None:
        while True:
            try:
                client = listener.accept()[0]
            except OSError:
                return
            try:
                server = socket.create_connection(self._target, timeout=2)
            except OSError:
                client.close()
                continue
            server.settimeout(None)
            pair = Pair(self, client, server)
            with self._lock:
                self._pairs.add(pair)
            pair.start()


class Pair:
    """A connection of a client and the corresponding connection to the server."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self._relay, self._client, self._server = relay, client, server
        self._loses_answer = False

    def start(self) -> None:
        """Forward data in both directions, each in a thread."""
        for forward in (self._forward_requests, self._forward_responses):
            threading.Thread(target=self._run, args=[forward], daemon=True).start()

    def close(self) -> None:
        """Close both connections, which ends both threads."""
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._relay.forget(self)

    def _run(self, forward: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            forward()
        self.close()

    def _forward_requests(self) -> None:
        while data := self._client.recv(CHUNK_BYTES):
            self._relay.wait()
            if COMMIT in data:
                self._loses_answer = self._relay.take_commit()
            self._server.sendall(data)

    def _forward_responses(self) -> None:
        while data := self._server.recv(CHUNK_BYTES):
            self._relay.wait()
            if self._loses_answer:
                return
            self._client.sendall(data)
