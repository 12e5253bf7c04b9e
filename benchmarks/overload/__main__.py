"""Measure the service at and beyond its limits: `make bench-overload`.

Prints Markdown: the list of posts unloaded, under three times the load that can be served and five seconds later; reads
beside logins without end; refreshes a second; and the time from start to first answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time

from benchmarks.overload.clients import Answer, all_in_turn, at_rate, in_turn, percentile, probing, run, soon
from benchmarks.processors import processors_of
from benchmarks.scale.rows import PASSWORD, filled
from benchmarks.speed.servers import call, environment, machine
from tests.support.services.gatepost import GatepostServer

USERS, POSTS = 1000, 20_000
API = "/api/v1"
TIMES, PAUSE_SECONDS, CALM = 3, 5.0, 0.25
LOGINS_AT_ONCE, STARTS = 16, 5
# The aims.
MOST_TIMES_SLOWER, MOST_HEALTH_MS, LEAST_IN_ARGON2, LEAST_REFRESHES, MOST_START_SECONDS = 3.0, 100.0, 0.85, 300, 1.5


def head(method: str, path: str, body: object = None, **headers: str) -> bytes:
    """Return the bytes of a request."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items()),
    ]
    if data:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return "\r\n".join([*lines, "", ""]).encode() + data


LIST = head("GET", f"{API}/posts")
HEALTH = head("GET", "/health")


def login(number: int) -> dict[str, str]:
    """Return the body of one user's login."""
    return {"email": f"u{number}@example.com", "password": PASSWORD}


async def served_a_second(port: int, seconds: float, connections: int = 32) -> float:
    """Return how many lists are served when clients wait for each."""
    answers = await all_in_turn(port, LIST, connections, seconds)
    return sum(answer.status == 200 for answer in answers) / seconds


async def storm(port: int, rate: float, seconds: float) -> tuple[list[Answer], list[Answer]]:
    """Ask for lists at this rate, and for the server's health beside it."""
    begins = soon()
    answers, probes = await asyncio.gather(
        at_rate(port, LIST, rate, seconds, begins), probing(port, HEALTH, seconds, begins)
    )
    return answers, probes


async def reads_beside_logins(port: int, rate: float, seconds: float) -> tuple[list[Answer], list[Answer]]:
    """Ask for lists at this rate while clients log in over and over."""
    bodies = [head("POST", f"{API}/auth/login", login(100 + number)) for number in range(LOGINS_AT_ONCE)]
    begins = soon()
    reads, *logins = await asyncio.gather(
        at_rate(port, LIST, rate, seconds, begins),
        *(in_turn(port, lambda got, body=body: body, body, seconds, begins) for body in bodies),  # type: ignore[misc]
    )
    return reads, [answer for answers in logins for answer in answers]


async def refreshes(port: int, tokens: list[str], seconds: float) -> list[Answer]:
    """Refresh all these sessions over and over, each with the token that it got last."""

    def follow(body: bytes) -> bytes:
        return _refresh(json.loads(body)["refresh_token"])

    each = await asyncio.gather(*(in_turn(port, follow, _refresh(token), seconds) for token in tokens))
    return [answer for answers in each for answer in answers]


def _refresh(token: str) -> bytes:
    return head("POST", f"{API}/auth/refresh", {"refresh_token": token})


def row(name: str, answers: list[Answer], seconds: float, probes: list[Answer] | None = None) -> str:
    """Return a line of the table: what was sent, served and refused, and how fast."""
    served = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 503]
    lost = len(answers) - len(served) - len(refused)
    health = f"{percentile(probes, 50):.0f} / {max(probe.ms for probe in probes):.0f}" if probes else ""
    late = f"{percentile(refused, 50):.1f} / {percentile(refused, 99):.1f}" if refused else ""
    return (
        f"| {name} | {len(answers) / seconds:,.0f} | {len(served) / seconds:,.0f} "
        f"| {percentile(served, 50):.1f} | {percentile(served, 99):.1f} "
        f"| {len(refused) / max(len(answers), 1):.0%} | {late} | {lost} | {health} |"
    )


HEADS = (
    "| lists | asked/s | served/s | p50 ms | p99 ms | refused 503 | p50 / p99 ms | lost | health p50 / max ms |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
)


def measure_overload(port: int, seconds: float) -> tuple[float, bool]:
    """Print unloaded, storm and after; returns how much can be served, and whether the aims are kept."""
    run(served_a_second(port, 2))
    capacity = run(served_a_second(port, seconds / 2))
    calm = capacity * CALM
    print(
        f"It serves {capacity:,.0f} lists a second to 32 clients that wait. Unloaded is a quarter of that.\n\n{HEADS}"
    )
    before, calm_probes = run(storm(port, calm, seconds))
    print(row("unloaded", before, seconds, calm_probes), flush=True)
    during, probes = run(storm(port, capacity * TIMES, seconds))
    print(row(f"{TIMES} times the load", during, seconds, probes), flush=True)
    time.sleep(PAUSE_SECONDS)
    after, later = run(storm(port, calm, seconds))
    print(row("5 s later", after, seconds, later), flush=True)
    served = [answer for answer in during if answer.status == 200]
    factor = percentile(served, 99) / percentile(before, 99)
    slowest = max(probe.ms for probe in probes)
    print(f"\np99 of what was accepted: {factor:.1f} times the unloaded one. Slowest /health: {slowest:.0f} ms.\n")
    return capacity, factor <= MOST_TIMES_SLOWER and slowest <= MOST_HEALTH_MS


def measure_argon2(server: GatepostServer, seconds: float) -> bool:
    """Print how much of a login's CPU is Argon2's; returns whether the aim is kept."""
    bodies = [head("POST", f"{API}/auth/login", login(300 + number)) for number in range(LOGINS_AT_ONCE)]

    async def log_in() -> list[list[Answer]]:
        return await asyncio.gather(
            *(in_turn(server.port, lambda got, body=body: body, body, seconds) for body in bodies)  # type: ignore[misc]
        )

    run(log_in())
    before = processors_of(server.worker_pids())
    answers = [answer for answers in run(log_in()) for answer in answers if answer.status == 200]
    used = processors_of(server.worker_pids())
    share, ms = used.share_since(before), 1000 * (used.everything - before.everything) / len(answers)
    print(
        f"{len(answers) / seconds:,.0f} logins a second and nothing else, {ms:.1f} ms of CPU each: "
        f"{share:.1%} in Argon2.\n",
        flush=True,
    )
    return share >= LEAST_IN_ARGON2


def measure_logins(port: int, capacity: float, seconds: float) -> bool:
    """Print reads with and without logins; returns whether the aim is kept."""
    rate = capacity * CALM
    alone = run(at_rate(port, LIST, rate, seconds, soon()))
    beside, logins = run(reads_beside_logins(port, rate, seconds))
    print(f"{HEADS}\n{row('alone', alone, seconds)}\n{row('beside logins without end', beside, seconds)}")
    print(row(f"the logins, {LOGINS_AT_ONCE} at once", logins, seconds))
    factor = percentile(beside, 99) / percentile(alone, 99)
    print(f"\np99 of reads beside logins: {factor:.1f} times that alone.\n", flush=True)
    return factor <= MOST_TIMES_SLOWER


def measure_refreshes(port: int, seconds: float) -> bool:
    """Print the refreshes of a second; returns whether the aim is kept."""
    tokens = [call(port, "POST", f"{API}/auth/login", login(200 + number))[1]["refresh_token"] for number in range(32)]
    answers = run(refreshes(port, tokens, seconds))
    done = sum(answer.status == 200 for answer in answers)
    refused = len(answers) - done
    print(f"{done / seconds:,.0f} refreshes a second, p99 {percentile(answers, 99):.0f} ms; {refused} refused.")
    return done / seconds >= LEAST_REFRESHES


def measure_start(url: str, settings: dict[str, str]) -> bool:
    """Print how long a start takes; returns whether the aim is kept."""
    times = []
    for _ in range(STARTS):
        began = time.perf_counter()
        with GatepostServer({**environment(url), **settings}):
            times.append(time.perf_counter() - began)
    median = statistics.median(times)
    print(
        f"From start to first answer, all workers there: {median:.2f} s, median of {STARTS} ({max(times):.2f} at most)."
    )
    return median < MOST_START_SECONDS


def main() -> int:
    """Measure all or what is named; 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", default="overload,logins,refreshes,start")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a setting other than default")
    options = parser.parse_args()
    only = options.only.split(",")
    settings = dict(pair.split("=", 1) for pair in options.set)
    print(f"{machine()}; two workers of four threads; PostgreSQL; {POSTS:,} posts; {options.seconds:.0f} s each.\n")
    kept = []
    with filled("overload", USERS, POSTS) as url:
        with GatepostServer({**environment(url), **settings}) as server:
            capacity = 0.0
            if "overload" in only:
                capacity, is_kept = measure_overload(server.port, options.seconds)
                kept.append(is_kept)
            if "logins" in only:
                capacity = capacity or run(served_a_second(server.port, 3))
                kept.append(measure_logins(server.port, capacity, options.seconds))
                kept.append(measure_argon2(server, options.seconds))
            if "refreshes" in only:
                kept.append(measure_refreshes(server.port, options.seconds))
        if "start" in only:
            kept.append(measure_start(url, settings))
    return 0 if all(kept) else 1


if __name__ == "__main__":
    sys.exit(main())
