"""A network between the application and PostgreSQL that can refuse, stall, cut, and lose the answer to a COMMIT."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Self

from tests.support.services import LOOPBACK

CHUNK_BYTES = 65_536
COMMIT = b"COMMIT\0"


class Relay:
    """Passes connections on to `target_port`; a context manager. It sees plain text only: loopback has no TLS."""

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
        """Take connections, again after `refuse`: same port."""
        if self._listener is not None:
            return
        listener = socket.create_server((LOOPBACK, self.port), backlog=128)
        self._listener, self.port = listener, listener.getsockname()[1]
        threading.Thread(target=self._serve, args=[listener], daemon=True).start()

    def refuse(self) -> None:
        """Cut what is open and refuse what comes, as a firewall that rejects."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        self.cut()

    def swallow(self) -> None:
        """Hold every byte back and close nothing, as a firewall that drops: TCP will deliver them in the end."""
        self._flowing.clear()

    def pass_on(self) -> None:
        """Let what was held back go on, and all that follows."""
        self._flowing.set()

    def cut(self) -> None:
        """Close every open connection."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            pair.close()

    def lose_commits(self, count: int) -> None:
        """Cut the next connections just where the server has answered COMMIT and the client has not heard it."""
        with self._lock:
            self._answers_to_lose += count

    def take_commit(self) -> bool:
        """Whether the answer to this COMMIT is to be lost."""
        with self._lock:
            if not self._answers_to_lose:
                return False
            self._answers_to_lose -= 1
            self.lost_answers += 1
            return True

    def wait(self) -> None:
        """Wait while bytes are held back."""
        self._flowing.wait()

    def forget(self, pair: Pair) -> None:
        """Take a closed pair off the list."""
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
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, relay: Relay, client: socket.socket, server: socket.socket) -> None:
        self._relay, self._client, self._server = relay, client, server
        self._loses_answer = False

    def start(self) -> None:
        """Pump in both directions, each in a thread."""
        for pump in (self._pump_questions, self._pump_answers):
            threading.Thread(target=self._run, args=[pump], daemon=True).start()

    def close(self) -> None:
        """Let both sides see the end, which ends both pumps."""
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._relay.forget(self)

    def _run(self, pump: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            pump()
        self.close()

    def _pump_questions(self) -> None:
        while data := self._client.recv(CHUNK_BYTES):
            self._relay.wait()
            if COMMIT in data:
                self._loses_answer = self._relay.take_commit()
            self._server.sendall(data)

    def _pump_answers(self) -> None:
        while data := self._server.recv(CHUNK_BYTES):
            self._relay.wait()
            if self._loses_answer:
                return
            self._client.sendall(data)
