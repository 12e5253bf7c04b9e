"""`make fuzz`: Schemathesis on both databases, as nobody, as a user and as an administrator; prints a table."""

from __future__ import annotations

import argparse
import os
import random
import sys

from tests.conftest import BACKENDS
from tests.fuzzing.plan import CALLERS
from tests.fuzzing.runs import CI_SHARE, Outcome, Share, fuzz, postgres_for

LONG_EXAMPLES = 500


def print_row(*cells: object) -> None:
    """Print a line of the table."""
    print("|", " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells), "|", flush=True)


def main() -> int:
    """Run all that was asked for; 1 if any check failed."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--long", action="store_true", help="100,000 cases, from a new seed unless one is given")
    parser.add_argument("--seed", type=int, help="repeat the run with this seed")
    parser.add_argument("--examples", type=int, help="examples for each operation")
    parser.add_argument("--database", choices=BACKENDS, action="append", help="only this database")
    parser.add_argument("--caller", choices=CALLERS, action="append", help="only this caller")
    options = parser.parse_args()
    share = Share(
        examples=options.examples or (LONG_EXAMPLES if options.long else CI_SHARE.examples),
        seed=options.seed if options.seed is not None else (random.getrandbits(31) if options.long else CI_SHARE.seed),
    )
    print(f"seed {share.seed}, {share.examples} examples; load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    outcomes = run_all(share, tuple(options.database or BACKENDS), tuple(options.caller or CALLERS))
    print_row("all", "", sum(o.cases for o in outcomes), sum(o.failures for o in outcomes), "")
    return 0 if all(outcome.is_clean for outcome in outcomes) else 1


def run_all(share: Share, backends: tuple[str, ...], callers: tuple[str, ...]) -> list[Outcome]:
    """Run each caller on each database and print a line for each, with what Schemathesis said of failures."""
    outcomes = []
    print_row("database", "caller", "cases", "failures", "time")
    print_row(*["---"] * 5)
    with postgres_for(backends) as postgres:
        for backend in backends:
            for caller in (known for known in CALLERS if known in callers):
                outcome = fuzz(backend, caller, share, postgres)
                outcomes.append(outcome)
                print_row(backend, caller, outcome.cases, outcome.failures, f"{outcome.seconds:.0f} s")
                if not outcome.is_clean:
                    print(outcome.said, file=sys.stderr)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
