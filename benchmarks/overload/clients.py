"""Clients of two kinds: those that wait for their answer before they ask again, and those that don't.

The second are what an overload is made of: their requests come at a rate, whatever becomes of them, and a request's
time counts from when it was due. One thread sends them all, since the server's processors are the same ones.
"""

from __future__ import annotations

import asyncio
import gc
import re
import statistics
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.services import LOOPBACK

TICK_SECONDS = 0.002
PATIENCE_SECONDS = 10.0
MOST_CONNECTIONS = 900
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, 0 where the connection was lost, when it was due and how many milliseconds it took."""

    status: int
    due: float
    ms: float


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
        head_end = self._received.find(b"\r\n\r\n")
        if head_end < 0:
            return
        length = _LENGTH.search(self._received, 0, head_end + 2)
        end = head_end + 4 + (int(length[1]) if length else 0)
        if len(self._received) < end:
            return
        answer, self._received = self._received[:end], b""
        if _CLOSES.search(answer, 0, head_end + 2):
            self.close()
        self._finish(int(answer[9:12]), answer[head_end + 4 :])

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
    """Clients that send their requests at a rate, over as many connections as it takes."""

    def __init__(self, port: int, request: bytes) -> None:
        self._port = port
        self._request = request
        self.answers: list[Answer] = []
        self._idle: list[Wire] = []
        self._wires: list[Wire] = []
        self._opening: set[asyncio.Task[None]] = set()

    def ask(self, due: float) -> bool:
        """Send a request if a connection is free or can be opened."""
        while self._idle:
            wire = self._idle.pop()
            if wire.is_open:
                self._send(wire, due)
                return True
        self._wires = [wire for wire in self._wires if wire.is_open]
        if len(self._opening) + len(self._wires) >= MOST_CONNECTIONS:
            return False
        task = asyncio.create_task(self._open_and_send(due))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)
        return True

    def close(self) -> None:
        """Close all connections."""
        for wire in self._wires:
            wire.close()

    async def _open_and_send(self, due: float) -> None:
        try:
            wire = await asyncio.wait_for(connect(self._port), PATIENCE_SECONDS)
        except OSError:
            self._note(0, due)
            return
        self._wires.append(wire)
        self._send(wire, due)

    def _send(self, wire: Wire, due: float) -> None:
        def done(status: int, body: bytes) -> None:
            self._note(status, due)
            if wire.is_open:
                self._idle.append(wire)

        wire.send(self._request, done)

    def _note(self, status: int, due: float) -> None:
        self.answers.append(Answer(status, due, (time.perf_counter() - due) * 1000))


async def at_rate(port: int, request: bytes, rate: float, seconds: float) -> list[Answer]:
    """Send a request over and over at a rate, whatever becomes of it; returns all answers."""
    crowd = Crowd(port, request)
    began, sent = time.perf_counter(), 0
    while (now := time.perf_counter()) < began + seconds:
        # What can't be sent for want of a connection stays due.
        while sent < (now - began) * rate and crowd.ask(began + sent / rate):
            sent += 1
        await asyncio.sleep(TICK_SECONDS)
    while len(crowd.answers) < sent and time.perf_counter() < began + seconds + PATIENCE_SECONDS:
        await asyncio.sleep(TICK_SECONDS)
    crowd.close()
    return crowd.answers + [Answer(0, began, PATIENCE_SECONDS * 1000)] * (sent - len(crowd.answers))


async def in_turn(port: int, follow: Callable[[bytes], bytes], first: bytes, seconds: float) -> list[Answer]:
    """Send one request after the other over one connection, each made from the answer before."""
    answers: list[Answer] = []
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


async def probing(port: int, request: bytes, seconds: float) -> list[Answer]:
    """Ask every 50 ms over a connection of its own, as a load balancer does."""
    answers: list[Answer] = []
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
