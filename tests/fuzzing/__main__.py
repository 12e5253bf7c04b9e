"""`make fuzz`: runs Schemathesis on both databases, anonymously, as a user and as an administrator. Prints a table."""

from __future__ import annotations

import argparse
import os
import random
import sys

from tests.conftest import BACKENDS
from tests.fuzzing.plan import CALLERS, FULL_SHARE, LONG_EXAMPLES, Share
from tests.fuzzing.runs import Outcome, fuzz, postgres_for


def print_row(*cells: object) -> None:
    """Print a row of the table."""
    print("|", " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in cells), "|", flush=True)


def main() -> int:
    """Do the runs that the options select. Returns 1 if a check failed, otherwise 0."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--long", action="store_true", help="100,000 cases, from a new seed unless one is given")
    parser.add_argument("--seed", type=int, help="repeat the run with this seed")
    parser.add_argument("--examples", type=int, help="examples for each operation")
    parser.add_argument("--database", choices=BACKENDS, action="append", help="only this database")
    parser.add_argument("--caller", choices=CALLERS, action="append", help="only this caller")
    options = parser.parse_args()
    default = Share(examples=LONG_EXAMPLES, seed=random.getrandbits(31)) if options.long else FULL_SHARE
    share = Share(
        examples=options.examples or default.examples,
        seed=default.seed if options.seed is None else options.seed,
    )
    print(f"seed {share.seed}, {share.examples} examples; load {os.getloadavg()[0]:.1f}", file=sys.stderr)
    outcomes = run_all(share, tuple(options.database or BACKENDS), tuple(options.caller or CALLERS))
    print_row("all", "", sum(o.cases for o in outcomes), sum(o.failures for o in outcomes), "")
    return 0 if all(outcome.is_clean for outcome in outcomes) else 1


def run_all(share: Share, backends: tuple[str, ...], callers: tuple[str, ...]) -> list[Outcome]:
    """Run each caller on each database, and print a row for each, and the output of Schemathesis if a check failed."""
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
                    print(outcome.output, file=sys.stderr)
    return outcomes


if __name__ == "__main__":
    sys.exit(main())
