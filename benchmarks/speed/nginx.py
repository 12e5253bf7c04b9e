"""What the proxy costs: reads through the project's nginx beside direct ones, in alternating rounds."""

from __future__ import annotations

import statistics

from benchmarks.speed.report import Plan
from benchmarks.speed.servers import gatepost, machine
from benchmarks.speed.wrk import Load, Run, run
from gatepost.testing.services import LOOPBACK
from tests.support.services.nginx import NginxServer

LEAST_RATIO = 0.85
# Its limits count, but all requests come from one address here.
UNLIMITED = {"NGINX_RATE": "1000000r/s", "NGINX_BURST": "1000000", "NGINX_CONNECTIONS": "10000"}


def compare_with_nginx(url: str, plan: Plan, posts: int) -> int:
    """Print the table; 1 if a read through nginx falls below the aim."""
    loads = [
        Load("list", "/api/v1/posts"),
        Load("one post", "/api/v1/posts/{id}", ids=posts),
    ]
    runs: dict[str, list[tuple[Run, Run]]] = {load.name: [] for load in loads}
    with gatepost(url, TRUSTED_PROXIES="1") as server, NginxServer(f"{LOOPBACK}:{server.port}", env=UNLIMITED) as nginx:
        urls = [server.url, f"http://{LOOPBACK}:{nginx.port}"]
        for number in range(plan.rounds + 1):
            for load in loads:
                seconds = plan.seconds if number else 1
                in_turn = urls if number % 2 else urls[::-1]
                found = {
                    target: run(target, load, pid=server.pid, connections=plan.connections, seconds=seconds)
                    for target in in_turn
                }
                if number:  # the first warms up
                    runs[load.name].append((found[urls[0]], found[urls[1]]))
    print(f"{machine()}; {plan.connections} connections; medians of {plan.rounds} rounds of {plan.seconds} s.\n")
    print(
        "| read | direct/s | through nginx/s | ratio | p99 ms | p99 ms through nginx |\n|---|---:|---:|---:|---:|---:|"
    )
    lowest = min(_print_row(name, pairs) for name, pairs in runs.items())
    return 0 if lowest >= LEAST_RATIO else 1


def _print_row(name: str, pairs: list[tuple[Run, Run]]) -> float:
    ratio = statistics.median(through.per_second / direct.per_second for direct, through in pairs)
    direct, through = ([pair[side] for pair in pairs] for side in (0, 1))
    speeds = [statistics.median(one.per_second for one in side) for side in (direct, through)]
    slowest = [statistics.median(one.p99_ms for one in side) for side in (direct, through)]
    print(f"| {name} | {speeds[0]:,.0f} | {speeds[1]:,.0f} | {ratio:.2f} | {slowest[0]:.0f} | {slowest[1]:.0f} |")
    return ratio
