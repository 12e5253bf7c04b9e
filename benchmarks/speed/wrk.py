"""One run of wrk against one server, and what it cost that server."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tools.services import locate

SCRIPT = Path(__file__).with_name("load.lua")


class Failed(Exception):
    """wrk is missing, or an answer was not what it should be."""


@dataclass(frozen=True, slots=True)
class Load:
    """A request to send over and over; `{id}` in the target is a random id from 1 to `ids`.

    With `tokens`, one refresh token a connection, `{token}` in the body is a session's newest.
    """

    name: str
    target: str
    method: str = "GET"
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    ids: int = 1
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
    """What one run counted: requests served a second, failed ones, latency in ms, CPU in microseconds a request."""

    per_second: float
    failed: int
    p50_ms: float
    p99_ms: float
    cpu_us: float


def run(url: str, load: Load, *, pid: int, connections: int, seconds: int, may_fail: bool = False) -> Run:
    """Send `load` to `url` and return the figures; `pid` is the server's first process.

    Raises Failed if wrk did not run, and for any error response or socket error unless `may_fail`.
    """
    program = locate("wrk")
    if program is None:
        raise Failed("wrk is missing: install it (on Debian: apt install wrk).")
    environment = {
        **os.environ,
        **program.environment,
        "METHOD": load.method,
        "TARGET": load.target,
        "BODY": load.body,
        "HEADERS": "\n".join(f"{name}: {value}" for name, value in load.headers.items()),
        "IDS": str(load.ids),
        "TOKENS": "\n".join(load.tokens),
    }
    amount = ["-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s"]
    command = [str(program.path), *amount, "-s", str(SCRIPT), url]
    before = cpu_seconds(pid)
    output = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    used = cpu_seconds(pid) - before
    lines = [line for line in output.stdout.splitlines() if line.startswith("FIGURES ")]
    if not lines:
        raise Failed(output.stdout + output.stderr)
    counted = json.loads(lines[0].removeprefix("FIGURES "))
    if not counted["requests"] or (counted["failed"] and not may_fail):
        raise Failed(f"{load.name}: {counted['failed']} of {counted['requests']} answers were errors")
    return Run(
        per_second=max(counted["requests"] - counted["failed"], 0) / counted["microseconds"] * 1e6,
        failed=counted["failed"],
        p50_ms=counted["p50"] / 1000,
        p99_ms=counted["p99"] / 1000,
        cpu_us=used / counted["requests"] * 1e6,
    )


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process and its children have used, those that have ended too, in seconds."""
    master = psutil.Process(pid)
    ended = master.cpu_times()
    living = sum(sum(process.cpu_times()[:2]) for process in (master, *master.children(recursive=True)))
    return living + ended.children_user + ended.children_system
