"""Runs drills and prints their figures as a table: `python -m tests.faults.drills [names] [--long]`."""

from __future__ import annotations

import argparse
import os
import sys
import time

from gatepost.testing.services import ServiceMissing
from tests.faults.drills import application, postgres, surroundings
from tests.faults.drills.stage import Figures, Stage

DRILLS = {
    f"{module.__name__.rpartition('.')[2]}.{drill.__name__}": drill
    for module in (postgres, application, surroundings)
    for drill in module.DRILLS
}
HEADINGS = (
    *("drill", "database", "what was done", "requests", "acknowledged", "lost", "half-done", "doubled"),
    *("slowest answer", "slowest probe", "ready→503", "ready→200", "first success", "answers"),
)


def row_of(figures: Figures) -> list[str]:
    """Return the cells of a drill's row."""
    verdict = figures.verdict
    counts = (
        len(figures.outcomes),
        verdict.acknowledged,
        *map(len, (verdict.lost, verdict.half_done, verdict.doubled)),
    )
    times = (figures.slowest, figures.slowest_probe, figures.unready, figures.ready, figures.first_success)
    return [
        *(figures.name, figures.database, figures.done),
        *(f"{count:,}" for count in counts),
        *("–" if seconds is None else f"{seconds:.2f} s" for seconds in times),
        ", ".join(f"{count:,} × {label}" for label, count in sorted(figures.labels.items())),
    ]


def print_row(cells: list[str] | tuple[str, ...]) -> None:
    """Print a row of the table."""
    print("|", " | ".join(cells), "|", flush=True)


def print_details(figures: Figures) -> None:
    """Print the details that are not in the table to standard error."""
    verdict = figures.verdict
    print(f"  health {dict(figures.health)} ready {dict(figures.ready_labels)} {figures.remark}", file=sys.stderr)
    for what in (*verdict.lost, *verdict.half_done, *verdict.doubled)[:10]:
        print(f"  BROKEN: {what}", file=sys.stderr)
    if figures.surprises:
        print(f"  {figures.surprises} unhandled exceptions in the log", file=sys.stderr)


def main() -> int:
    """Run the named drills, or all. Return 1 if a write was lost, half-done or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(DRILLS))
    parser.add_argument("--long", action="store_true", help="more kills and longer faults: about ten minutes")
    options = parser.parse_args()
    chosen = [name for name in DRILLS if not options.names or any(part in name for part in options.names)]
    print(f"{os.cpu_count()} processors; load {os.getloadavg()[0]:.1f} before", file=sys.stderr)
    print_row(HEADINGS)
    print_row(["---"] * len(HEADINGS))
    began, broken = time.monotonic(), 0
    with Stage(is_long=options.long) as stage:
        for name in chosen:
            print(name, file=sys.stderr)
            try:
                figures = DRILLS[name](stage)
            except ServiceMissing as reason:
                print(f"  left out: {reason}", file=sys.stderr)
                continue
            print_row(row_of(figures))
            print_details(figures)
            verdict = figures.verdict
            broken += len(verdict.lost) + len(verdict.half_done) + len(verdict.doubled) + figures.surprises
    print(f"\n{time.monotonic() - began:.0f} s; load {os.getloadavg()[0]:.1f} at the end", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
