"""Measure overload: `make bench-overload`, `make bench-overload ARGS="--server granian"`.

Prints Markdown: `GET /health` through nginx while clients ask for three times what the service can serve, reads beside
clients that log in without a pause, and the time from start to first response. Every request goes to this machine.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

from benchmarks.speed.__main__ import API, EMAIL, LOGIN_EMAIL, database
from benchmarks.speed.nginx import UNLIMITED
from benchmarks.speed.servers import PASSWORD, SERVERS, gatepost, machine
from benchmarks.speed.wrk import Load, Run, run
from gatepost.testing.services import LOOPBACK
from tests.support.services.nginx import NginxServer

POSTS, STARTS = 20_000, 5
PROBE_SECONDS = 0.1
# Clients that ask again at once: 64 are enough to keep both processors busy.
BUSY, OVERLOAD, LOGINS, READERS = 64, 1500, 16, 8
LIST = Load("list", f"{API}/posts")
LOGIN = Load(
    "login",
    f"{API}/auth/login",
    "POST",
    json.dumps({"email": LOGIN_EMAIL, "password": PASSWORD}),
    {"Content-Type": "application/json"},
)


def probe_health(port: int, stop: threading.Event) -> list[float]:
    """Ask for /health on a new connection every tenth of a second; return the seconds of each, inf for a failure."""
    seconds = []
    while not stop.wait(PROBE_SECONDS):
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
        started = time.perf_counter()
        try:
            connection.request("GET", "/health")
            is_healthy = connection.getresponse().status == 200
        except OSError:
            is_healthy = False
        finally:
            connection.close()
        seconds.append(time.perf_counter() - started if is_healthy else float("inf"))
    return seconds


def load_with_probes(port: int, pid: int, connections: int, seconds: int) -> tuple[Run, list[float]]:
    """Ask for lists on so many connections, and for /health beside them."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        probes: Future[list[float]] = pool.submit(probe_health, port, stop)
        try:
            found = run(
                f"http://{LOOPBACK}:{port}", LIST, pid=pid, connections=connections, seconds=seconds, may_fail=True
            )
        finally:
            stop.set()
        return found, probes.result()


def measure_overload(url: str, server: str, seconds: int) -> None:
    """Print what is served and how fast /health is, with as many clients as keep the service busy and with far more."""
    print("| lists through nginx | served/s | refused or failed/s | p99 ms | /health median ms | /health slowest ms |")
    print("|---|---:|---:|---:|---:|---:|")
    redis_free = {"TRUSTED_PROXIES": "1"}
    with (
        gatepost(url, server, **redis_free) as running,
        NginxServer(f"{LOOPBACK}:{running.port}", env=UNLIMITED) as nginx,
    ):
        for connections in (BUSY, OVERLOAD, BUSY):
            found, probes = load_with_probes(nginx.port, running.pid, connections, seconds)
            print(
                f"| {connections} connections | {found.per_second:,.0f} | {found.failed / seconds:,.0f} "
                f"| {found.p99_ms:,.0f} | {statistics.median(probes) * 1000:.0f} | {max(probes) * 1000:.0f} |",
                flush=True,
            )


def measure_logins(url: str, server: str, seconds: int) -> None:
    """Print how fast reads are alone and beside logins without a pause."""
    print("\n| reads on 8 connections | served/s | p50 ms | p99 ms | logins/s | logins refused/s |")
    print("|---|---:|---:|---:|---:|---:|")
    with gatepost(url, server) as running, ThreadPoolExecutor(1) as pool:
        alone = run(running.url, LIST, pid=running.pid, connections=READERS, seconds=seconds)
        print(f"| alone | {alone.per_second:,.0f} | {alone.p50_ms:.1f} | {alone.p99_ms:.1f} | | |", flush=True)
        options = {"pid": running.pid, "connections": LOGINS, "seconds": seconds}
        logins = pool.submit(run, running.url, LOGIN, may_fail=True, **options)
        beside = run(running.url, LIST, pid=running.pid, connections=READERS, seconds=seconds)
        flood = logins.result()
        print(
            f"| beside {LOGINS} clients that log in | {beside.per_second:,.0f} | {beside.p50_ms:.1f} "
            f"| {beside.p99_ms:.1f} | {flood.per_second:.0f} | {flood.failed / seconds:.0f} |"
        )


def measure_start(url: str, server: str) -> None:
    """Print the time from start to the first response, all workers started."""
    times = []
    for _ in range(STARTS):
        started = time.perf_counter()
        with gatepost(url, server):
            times.append(time.perf_counter() - started)
    print(f"\nStart to first response: {statistics.median(times):.2f} s, median of {STARTS}.")


def main() -> None:
    """Measure one server on PostgreSQL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--server", choices=SERVERS, default="gunicorn")
    parser.add_argument("--seconds", type=int, default=10)
    options = parser.parse_args()
    print(f"{machine()}; {options.server}; {POSTS:,} posts; {options.seconds} s each; signed in as {EMAIL}.\n")
    with database("postgresql", POSTS) as url:
        measure_overload(url, options.server, options.seconds)
        measure_logins(url, options.server, options.seconds)
        measure_start(url, options.server)


if __name__ == "__main__":
    main()
