"""How much memory a worker takes, and whether it grows: `make soak-memory`.

Starts Gatepost as production runs it on PostgreSQL, where workers are not recycled, and sends
a mix of requests for an hour. Prints resident memory (RSS), its share by page (PSS) and what ending the worker would
free (USS), per worker. Fails when a worker takes more than 90 MB after 100,000 requests, or grows on and on.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.scale.rows import PASSWORD, filled
from benchmarks.speed.servers import call, environment, machine
from gatepost.testing.services.gatepost import GatepostServer
from tools.services import locate

SCRIPT = Path(__file__).with_name("mix.lua")
USERS, POSTS, CONNECTIONS = 1000, 20_000, 32
REQUESTS, MOST_MB = 100_000, 90.0
# More than this much growth a worker in a million requests, seen over the last half, is a leak.
MOST_GROWTH_MB = 5.0
LOGIN = "/api/v1/auth/login"
REST_SECONDS = 2.5


class Failed(Exception):
    """The load could not be sent, or an answer was a fault of the server."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Megabytes of the largest worker when so many requests had been answered by all."""

    seconds: float
    requests: int
    rss: float
    pss: float
    uss: float


@contextmanager
def served() -> Iterator[GatepostServer]:
    """Serve Gatepost on PostgreSQL with some data."""
    with filled("memory", USERS, POSTS) as url, GatepostServer(environment(url)) as server:
        yield server


def send_mix(server: GatepostServer, seconds: int, rate: int = 0) -> dict[str, int]:
    """Send the mix for a while, at so many requests a second at most or as many as it can; returns the counts.

    Raises Failed.
    """
    program = locate("wrk")
    if program is None:
        raise Failed("wrk is missing: install it (on Debian: apt install wrk).")
    chosen = random.sample(range(1, USERS + 1), CONNECTIONS)
    bodies = [{"email": f"u{number}@example.com", "password": PASSWORD} for number in chosen]
    sessions = [call(server.port, "POST", LOGIN, body)[1] for body in bodies]
    env = {
        **os.environ,
        **program.environment,
        "TOKEN": sessions[0]["access_token"],
        "REFRESH_TOKENS": "\n".join(session["refresh_token"] for session in sessions),
        "PASSWORD": PASSWORD,
        "USERS": str(USERS),
        "POSTS": str(POSTS),
        "PAUSE_MS": str(1000 * CONNECTIONS // rate if rate else 0),
    }
    command = [str(program.path), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    output = subprocess.run([*command, server.url], env=env, capture_output=True, text=True, check=False)
    line = next((line for line in output.stdout.splitlines() if line.startswith("FIGURES ")), "")
    if not line:
        raise Failed(output.stdout + output.stderr)
    counts: dict[str, int] = json.loads(line.removeprefix("FIGURES "))
    if counts["5xx"] or counts["lost"] or counts["2xx"] < counts["4xx"]:
        raise Failed(f"not the answers that were expected: {counts}")
    return counts


def sample(server: GatepostServer, began: float, requests: int) -> Sample:
    """Look at the workers."""
    found = [psutil.Process(pid).memory_full_info() for pid in server.worker_pids()]
    megabytes = [max(getattr(info, kind) for info in found) / 2**20 for kind in ("rss", "pss", "uss")]
    return Sample(time.monotonic() - began, requests, *megabytes)


def soak(server: GatepostServer, seconds: int, rate: int) -> list[Sample]:
    """Send the mix for so long, at a rate or without one, and look at the workers some thirty times."""
    began, requests = time.monotonic(), 0
    samples = [sample(server, began, requests)]
    each = max(5, min(60, seconds // 30))
    while time.monotonic() - began < seconds:
        counts = send_mix(server, each, rate)
        requests += counts["requests"]
        # A hash has its memory for a second after it.
        time.sleep(REST_SECONDS)
        samples.append(sample(server, began, requests))
        print(f"{samples[-1].seconds:6.0f} s {counts} USS {samples[-1].uss:.1f} MB", file=sys.stderr)
    return samples


def growth_of(samples: list[Sample]) -> float:
    """Return the megabytes of USS that a million requests add, by the last half of the samples."""
    half = samples[len(samples) // 2 :]
    if len(half) < 3:
        return 0.0
    fit = statistics.linear_regression([float(one.requests) for one in half], [one.uss for one in half])
    return fit.slope * 1e6


def table_of(samples: list[Sample]) -> str:
    """Return a dozen of the samples as a table, the first and the last among them."""
    step = max(1, (len(samples) - 1) // 11)
    shown = [*samples[:-1:step], samples[-1]]
    lines = ["| minutes | requests | RSS MB | PSS MB | USS MB |", "|---:|---:|---:|---:|---:|"]
    lines += [f"| {s.seconds / 60:.1f} | {s.requests:,} | {s.rss:.1f} | {s.pss:.1f} | {s.uss:.1f} |" for s in shown]
    return "\n".join(lines)


def main() -> int:
    """Soak, and print; 1 if a worker is too large or grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=3600)
    parser.add_argument("--rate", type=int, default=0, help="requests a second at most; 0: as many as are served")
    options = parser.parse_args()
    with served() as server:
        samples = soak(server, options.seconds, options.rate)
    growth = growth_of(samples)
    then = next((one for one in samples if one.requests >= REQUESTS), samples[-1])
    print(f"{machine()}; PostgreSQL; {CONNECTIONS} connections; the largest of two workers.\n\n{table_of(samples)}\n")
    print(f"After {then.requests:,} requests: {then.rss:.1f} MB resident, {then.pss:.1f} MB proportional.")
    print(f"Growth over the last half: {growth:+.2f} MB a million requests.")
    return 1 if then.rss > MOST_MB or growth > MOST_GROWTH_MB else 0


if __name__ == "__main__":
    sys.exit(main())
