"""The figures as a page, and held to those of before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.speed.servers import THREADS, WORKERS, machine

# How much worse a ratio may become before `make bench-check` fails.
TOLERANCE = 0.15


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
class Plan:
    """How much is measured."""

    rounds: int
    seconds: int
    connections: int
    only: frozenset[str]


def as_page(figures: Mapping[str, Mapping[str, Figures]], memory: Mapping[str, float], plan: Plan, posts: int) -> str:
    """Return Markdown tables, one for each database."""
    size = f"{WORKERS} workers of {THREADS} threads; {posts:,} posts; {plan.connections} connections"
    parts = [f"{machine()}; {size}; medians of {plan.rounds} alternating rounds of {plan.seconds} s.\n"]
    for kind, rows in figures.items():
        parts.append(f"\n### {kind}\n\nLargest worker at the end: {memory[kind]:.0f} MB.\n\n")
        parts.append("| endpoint | requests/s | of the limit | CPU µs | times the limit's | p50 ms | p99 ms | SQL |\n")
        parts.append("|---|---|---|---|---|---|---|---|\n")
        parts += [_row(name, row) for name, row in rows.items()]
    return "".join(parts)


def _row(name: str, row: Figures) -> str:
    ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
    cpu_ratio = "–" if row.cpu_ratio is None else f"{row.cpu_ratio:.2f}"
    sql = "–" if row.statements is None else row.statements
    return (
        f"| {name} | {row.per_second:,.0f} | {ratio} | {row.cpu_us:,.0f} | {cpu_ratio} "
        f"| {row.p50_ms:.1f} | {row.p99_ms:.1f} | {sql} |\n"
    )


def find_regressions(figures: Mapping[str, Mapping[str, Figures]], path: Path) -> str | None:
    """Return what is worse than `path` remembers by more than the tolerance, or takes more statements; else None."""
    before = json.loads(path.read_text(encoding="utf-8"))
    worse = []
    for kind, rows in figures.items():
        for name, now in rows.items():
            then = before.get(kind, {}).get(name)
            if then is None:
                continue
            if now.cpu_ratio and then["cpu_ratio"] and now.cpu_ratio > then["cpu_ratio"] * (1 + TOLERANCE):
                worse.append(f"{kind} {name}: {now.cpu_ratio:.2f} times the limit's CPU, was {then['cpu_ratio']:.2f}")
            if now.statements is not None and then["statements"] is not None and now.statements > then["statements"]:
                worse.append(f"{kind} {name}: {now.statements} statements, was {then['statements']}")
    return "\n".join(["Slower than figures.json:", *worse]) if worse else None
