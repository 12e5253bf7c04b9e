"""Clients of two kinds: those that wait for their answer before they ask again, and those that don't.

The second are what an overload is made of: their requests come at a rate, whatever becomes of them, and a request's
time counts from when it was due. One process sends them all, with little work for each, since the server's
processors are the same ones.
"""

from __future__ import annotations

import asyncio
import gc
import re
import select
import socket
import statistics
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any, TypeVar

from tests.support.services import LOOPBACK

PATIENCE_SECONDS = 10.0
MOST_CONNECTIONS = 900
# Nobody else is sent meanwhile: a server that does not accept at once shows in what is late then.
CONNECT_SECONDS = 1.0
# A process of its own takes so long to begin.
PREPARATION_SECONDS = 2.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, 0 where the connection was lost, when it was due and how many milliseconds it took."""

    status: int
    due: float
    ms: float


def split(received: bytes) -> tuple[int, bytes, bool] | None:
    """Return the status and the body of an answer, and whether the server closes; None while it is not whole."""
    head_end = received.find(b"\r\n\r\n")
    if head_end < 0:
        return None
    length = _LENGTH.search(received, 0, head_end + 2)
    end = head_end + 4 + (int(length[1]) if length else 0)
    if len(received) < end:
        return None
    return int(received[9:12]), received[head_end + 4 : end], bool(_CLOSES.search(received, 0, head_end + 2))


class Wire(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = b""
        self._done: Callable[[int, bytes], None] | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def send(self, request: bytes, done: Callable[[int, bytes], None]) -> None:
        """Send a request; `done` gets status and body."""
        self._done = done
        if self.transport is not None:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        answer = split(self._received)
        if answer is None:
            return
        self._received = b""
        status, body, closes = answer
        if closes:
            self.close()
        self._finish(status, body)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._finish(0, b"")

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        if self.transport is not None:
            self.transport.close()

    def _finish(self, status: int, body: bytes) -> None:
        done, self._done = self._done, None
        if done is not None:
            done(status, body)


async def connect(port: int) -> Wire:
    """Open a connection."""
    _, wire = await asyncio.get_running_loop().create_connection(Wire, LOOPBACK, port)
    return wire


class Crowd:
    """Clients that send their requests at a rate, over as many connections as it takes, in one thread.

    Straight on sockets and epoll, as asyncio takes several times the processor's time, which the server then lacks.
    """

    def __init__(self, port: int, request: bytes) -> None:
        self._address = (LOOPBACK, port)
        self._request = request
        self._poller = select.epoll()
        self._idle: list[socket.socket] = []
        self._open: dict[int, socket.socket] = {}
        # When the request that is on a connection was due, and what has come of its answer.
        self._asked: dict[int, tuple[float, bytes]] = {}
        self.answers: list[Answer] = []

    def run(self, rate: float, seconds: float, began: float) -> list[Answer]:
        """Send that many requests a second for so long, whatever becomes of them; returns all answers.

        Those that were due, and could not be sent for want of a connection, are lost.
        """
        sent = 0
        while (now := time.perf_counter()) < began + seconds:
            while sent < (now - began) * rate and self._ask(began + sent / rate):
                sent += 1
            self._listen(max(began + (sent + 1) / rate - time.perf_counter(), 0.0))
        while sent < int(seconds * rate) and self._ask(began + sent / rate):
            sent += 1
        unsent = [
            Answer(0, began + number / rate, PATIENCE_SECONDS * 1000) for number in range(sent, int(seconds * rate))
        ]
        return self._end() + unsent

    def run_in_turn(self, clients: int, seconds: float, began: float) -> list[Answer]:
        """Let so many clients ask for so long, each again when it has its answer; returns all answers."""
        self._listen(max(began - time.perf_counter(), 0.0))
        while (now := time.perf_counter()) < began + seconds:
            while len(self._asked) < clients and self._ask(now):
                pass
            self._listen(0.1)
        return self._end()

    def _end(self) -> list[Answer]:
        ends = time.perf_counter() + PATIENCE_SECONDS
        while self._asked and time.perf_counter() < ends:
            self._listen(0.1)
        for client in self._open.values():
            client.close()
        return self.answers + [Answer(0, due, PATIENCE_SECONDS * 1000) for due, _ in self._asked.values()]

    def _ask(self, due: float) -> bool:
        while self._idle:
            client = self._idle.pop()
            if client.fileno() in self._open:
                return self._send(client, due)
        if len(self._open) >= MOST_CONNECTIONS:
            return False
        try:
            client = socket.create_connection(self._address, CONNECT_SECONDS)
        except OSError:
            self.answers.append(Answer(0, due, (time.perf_counter() - due) * 1000))
            return True
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open[client.fileno()] = client
        self._poller.register(client.fileno(), select.EPOLLIN)
        return self._send(client, due)

    def _send(self, client: socket.socket, due: float) -> bool:
        self._asked[client.fileno()] = due, b""
        try:
            client.send(self._request)
        except OSError:
            self._lose(client.fileno())
        return True

    def _listen(self, seconds: float) -> None:
        for fd, _ in self._poller.poll(seconds):
            try:
                data = self._open[fd].recv(65_536)
            except OSError:
                data = b""
            if data:
                self._receive(fd, data)
            else:
                self._lose(fd)

    def _receive(self, fd: int, data: bytes) -> None:
        due, before = self._asked[fd]
        answer = split(before + data)
        if answer is None:
            self._asked[fd] = due, before + data
            return
        del self._asked[fd]
        status, _, closes = answer
        self.answers.append(Answer(status, due, (time.perf_counter() - due) * 1000))
        if closes:
            self._lose(fd)
        else:
            self._idle.append(self._open[fd])

    def _lose(self, fd: int) -> None:
        if asked := self._asked.pop(fd, None):
            self.answers.append(Answer(0, asked[0], (time.perf_counter() - asked[0]) * 1000))
        self._open.pop(fd).close()


def soon() -> float:
    """Return when clients that are told so now can all begin, those in processes of their own too."""
    return time.perf_counter() + PREPARATION_SECONDS


async def _until(begins: float) -> None:
    await asyncio.sleep(max(begins - time.perf_counter(), 0.0))


def _run_crowd(how: str, port: int, request: bytes, amount: Any, seconds: float, begins: float) -> list[Answer]:
    gc.disable()
    answers: list[Answer] = getattr(Crowd(port, request), how)(amount, seconds, begins)
    return answers


async def _elsewhere(*arguments: Any) -> list[Answer]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return await asyncio.get_running_loop().run_in_executor(pool, _run_crowd, *arguments)


async def at_rate(port: int, request: bytes, rate: float, seconds: float, begins: float) -> list[Answer]:
    """Send a request at a rate, whatever becomes of it, from a process of its own; returns all answers."""
    return await _elsewhere("run", port, request, rate, seconds, begins)


async def all_in_turn(port: int, request: bytes, clients: int, seconds: float) -> list[Answer]:
    """Send a request from so many clients, each when it has its answer, from a process of its own."""
    return await _elsewhere("run_in_turn", port, request, clients, seconds, soon())


async def in_turn(
    port: int, follow: Callable[[bytes], bytes], first: bytes, seconds: float, begins: float = 0.0
) -> list[Answer]:
    """Send one request after the other over one connection, each made from the answer before."""
    answers: list[Answer] = []
    await _until(begins)
    wire, request = await connect(port), first
    ends = time.perf_counter() + seconds
    while (due := time.perf_counter()) < ends:
        if not wire.is_open:
            wire = await connect(port)
        got: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        wire.send(request, lambda status, body, got=got: got.set_result((status, body)))  # type: ignore[misc]
        status, body = await asyncio.wait_for(got, PATIENCE_SECONDS)
        answers.append(Answer(status, due, (time.perf_counter() - due) * 1000))
        if status == 200:
            request = follow(body)
        else:
            # As a client does that was told to come again later, only sooner.
            await asyncio.sleep(0.02)
    wire.close()
    return answers


async def probing(port: int, request: bytes, seconds: float, begins: float) -> list[Answer]:
    """Ask every 50 ms over a connection of its own, as a load balancer does."""
    answers: list[Answer] = []
    await _until(begins)
    ends = time.perf_counter() + seconds
    while (due := time.perf_counter()) < ends:
        wire = await connect(port)
        got: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        wire.send(request, lambda status, body, got=got: got.set_result(status))  # type: ignore[misc]
        answers.append(Answer(await got, due, (time.perf_counter() - due) * 1000))
        wire.close()
        await asyncio.sleep(0.05)
    return answers


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run it without pauses for garbage."""
    gc.collect()
    gc.disable()
    try:
        return asyncio.run(work)
    finally:
        gc.enable()


def percentile(answers: list[Answer], percent: int) -> float:
    """Return this percentile of the milliseconds."""
    if len(answers) < 2:
        return answers[0].ms if answers else float("nan")
    return statistics.quantiles([answer.ms for answer in answers], n=100)[percent - 1]
