"""The figures as Markdown, and their comparison with earlier ones."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.servers import THREADS, WORKERS, machine

# How much worse a ratio may become before `make bench-check` fails.
TOLERANCE = 0.15
HEADS = (
    "| endpoint | requests/s | of the limit | CPU µs | times the limit's | p50 ms | p99 ms | SQL |\n"
    "|---|---:|---:|---:|---:|---:|---:|---:|\n"
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians over the rounds of one endpoint; the ratios are to the limit's run of the same round."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    statements: int | None
    ratio: float | None
    cpu_ratio: float | None


@dataclass(frozen=True, slots=True)
class Goodput:
    """Lists served a second at a number of connections (median), and all that failed in all rounds."""

    connections: int
    per_second: float
    failed: int


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int
    seconds: int
    connections: int
    only: frozenset[str]


# By database, then by server, then by endpoint.
Table = Mapping[str, Mapping[str, Mapping[str, Figures]]]


def as_page(figures: Table, goodput: Mapping[str, list[Goodput]], plan: Plan, posts: int) -> str:
    """Return Markdown: a table for each database and server, and the goodput by connections."""
    size = f"{WORKERS} workers of {THREADS} threads; {posts:,} posts; {plan.connections} connections"
    size += " (8 for logins, 4 for writes to SQLite)"
    parts = [f"{machine()}; {size}; medians of {plan.rounds} alternating rounds of {plan.seconds} s.\n"]
    for kind, servers in figures.items():
        for server, rows in servers.items():
            parts.append(f"\n### {kind}, {server}\n\n")
            parts.append(
                "| endpoint | requests/s | of the limit | CPU µs | times the limit's | p50 ms | p99 ms | SQL |\n"
            )
            parts.append("|---|---:|---:|---:|---:|---:|---:|---:|\n")
            parts += [_row(name, row) for name, row in rows.items()]
    if goodput:
        parts.append("\n### Goodput: lists served a second, by connections (failed requests)\n\n")
        columns = [point.connections for point in next(iter(goodput.values()))]
        parts.append(f"| server | {' | '.join(map(str, columns))} |\n|---|{'---:|' * len(columns)}\n")
        for server, points in goodput.items():
            cells = " | ".join(f"{point.per_second:,.0f} ({point.failed})" for point in points)
            parts.append(f"| {server} | {cells} |\n")
    return "".join(parts)


def _row(name: str, row: Figures) -> str:
    ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
    cpu_ratio = "–" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}"
    sql = "–" if row.statements is None else row.statements
    return (
        f"| {name} | {row.per_second:,.0f} | {ratio} | {row.cpu_us:,.0f} | {cpu_ratio} "
        f"| {row.p50_ms:.1f} | {row.p99_ms:.1f} | {sql} |\n"
    )


def find_regressions(figures: Table, path: Path) -> str | None:
    """Return what is worse than `path` records by more than the tolerance, or takes more statements; else None."""
    before = json.loads(path.read_text(encoding="utf-8"))
    worse = []
    for kind, servers in figures.items():
        for server, rows in servers.items():
            for name, now in rows.items():
                then = before.get(kind, {}).get(server, {}).get(name)
                if then is not None:
                    worse += [f"{kind}, {server}, {name}: {text}" for text in _compare(now, then)]
    return "\n".join(["Slower than figures.json:", *worse]) if worse else None


def _compare(now: Figures, then: Mapping[str, float | None]) -> list[str]:
    worse = []
    if now.cpu_ratio and then["cpu_ratio"] and now.cpu_ratio > then["cpu_ratio"] * (1 + TOLERANCE):
        worse.append(f"{now.cpu_ratio:.2f} times the limit's CPU, was {then['cpu_ratio']:.2f}")
    if now.statements is not None and then["statements"] is not None and now.statements > then["statements"]:
        worse.append(f"{now.statements} statements, was {then['statements']}")
    return worse
