"""A thousand rounds of twenty refreshes at once, and ten thousand requests right after a change of rights.

Starts Gatepost as production runs it on an empty database, SQLite and then PostgreSQL, prints what happened and writes
docs/soak.md: `make soak`. Fails when a session forked, ended for no reason, or was good for anything after its end.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from gatepost.testing.races import Arena
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.postgres import PostgresServer
from tests.concurrency.soak import (
    CHAIN_ROUNDS,
    CHANGES,
    LOST_EVERY,
    PARALLEL,
    ChangeFigures,
    RefreshFigures,
    soak_changes,
    soak_refreshes,
)
from tests.conftest import PATIENT, migrate

ROUNDS, REQUESTS = 1_000, 10_000
WORKERS, THREADS, EACH, GRACE_SECONDS = 2, 4, 20, 10
PAGE = Path(__file__).resolve().parent.parent / "docs" / "soak.md"
VERSIONS = {
    "sqlite": ("SQLite", "SELECT sqlite_version()"),
    "postgresql": ("PostgreSQL", "SELECT current_setting('server_version')"),
}


@dataclass(frozen=True)
class Figures:
    """What happened on one database, and the seconds that each part took."""

    database: str
    refreshes: RefreshFigures
    changes: ChangeFigures
    seconds: tuple[float, float]

    @property
    def broken(self) -> int:
        """How many promises were not kept."""
        refreshes = self.refreshes
        return refreshes.forks + refreshes.false_logouts + refreshes.outlived + self.changes.stale.total()


@contextmanager
def served(database_url: str) -> Iterator[Arena]:
    """A server with the settings of production, as far as these matter here, on a new database."""
    migrate(database_url)
    environment = {
        "DATABASE_URL": database_url,
        "RATELIMIT_ENABLED": "false",
        "WEB_CONCURRENCY": str(WORKERS),
        "WEB_THREADS": str(THREADS),
        "REFRESH_GRACE_SECONDS": str(GRACE_SECONDS),
    }
    with GatepostServer({**environment, **PATIENT}) as server:
        yield Arena.of(server)


def soak(database_url: str, rounds: int, requests: int) -> Figures:
    """Run both parts on one database."""
    with served(database_url) as arena, arena.watched():
        name, statement = VERSIONS[arena.engine.dialect.name]
        version = str(arena.rows(statement)[0][0]).split()[0]
        print(f"{name} {version}: {rounds:,} rounds of {PARALLEL} refreshes …", flush=True)
        began = time.monotonic()
        refreshes = soak_refreshes(arena, rounds, grace_seconds=GRACE_SECONDS)
        between = time.monotonic()
        print(f"  {dict(refreshes.answers)}\n{requests:,} requests after changes …", flush=True)
        names = itertools.islice(itertools.cycle(CHANGES), -(-requests // (WORKERS * EACH)))
        changes = soak_changes(arena, names, each=EACH)
        print(f"  {dict(changes.answers)}", flush=True)
        return Figures(f"{name} {version}", refreshes, changes, (between - began, time.monotonic() - between))


def rows_of(figures: Figures) -> list[str]:
    """The column of one database, in the order of `HEADS`."""
    refreshes, changes = figures.refreshes, figures.changes
    refused = refreshes.answers.total() - refreshes.answers["200"]
    numbers = (
        *(refreshes.rounds, refreshes.answers.total(), refreshes.answers["200"]),
        *(refreshes.rotated, refreshes.in_grace, refreshes.after_loss, refused, refreshes.late),
        *(refreshes.forks, refreshes.false_logouts, refreshes.chains, refreshes.outlived),
        *(changes.changes.total(), changes.requests, *(changes.answers[answer] for answer in ANSWERS)),
        changes.stale.total(),
    )
    return [*(f"{number:,}" for number in numbers), *(f"{seconds:.0f} s" for seconds in figures.seconds)]


ANSWERS = ("401 token_revoked", "403 forbidden", "200")
HEADS = (
    *("rounds", "refreshes", "answered 200", "of these, rotated", "of these, in the grace period"),
    *(
        "of these, after a lost response",
        "other responses",
        "rounds longer than the grace period",
        "**forks**",
        "**false logouts**",
    ),
    *("sessions, each ended by a replay", "**replays and later requests that were accepted**"),
    *("changes", "requests after the changes", "answered 401 `token_revoked`"),
    *("answered 403 `forbidden` (demoted)", "answered 200 (promoted)", "**stale answers**"),
    *("time of the refreshes", "time of the changes"),
)


def table_of(results: list[Figures]) -> str:
    """The figures of all databases side by side."""
    columns = [rows_of(figures) for figures in results]
    lines = [f"| | {' | '.join(figures.database for figures in results)} |", "|---|" + "---:|" * len(results)]
    lines += [f"| {' | '.join(cells)} |" for cells in zip(HEADS, *columns, strict=True)]
    return "\n".join(lines)


def page_of(results: list[Figures], day: date, load: float) -> str:
    """docs/soak.md with these figures."""
    kinds = "\n".join(f"- {name}" for name in CHANGES)
    return f"""# Soak test: concurrent refreshes, and requests after a change of rights

`make soak` starts Gatepost with production settings on an empty database, with {WORKERS} workers of {THREADS} threads
and a grace period of {GRACE_SECONDS} s for replaced refresh tokens. It runs the following two parts on SQLite and on
PostgreSQL, prints the figures and writes this page, in five to ten minutes. `make test` runs a small share of it:
`tests/concurrency/test_soak.py`.

**Refreshes.** In each round, {PARALLEL} connections send the same refresh token at the same time. Exactly one request
may rotate it, and the others must receive the same generation. Two generations in a round are a *fork*, a refused
request is a *false logout*. The next round continues with any of the new tokens. In every {LOST_EVERY}th round all
responses are lost: after the grace period the {PARALLEL} requests are repeated, and must receive that generation again.
After {CHAIN_ROUNDS} rounds the owner uses the newest access token, and after the grace period a thief sends the token
before it on {PARALLEL} connections, while the owner sends requests. All refreshes of the thief, and then every token of
the last round, must be refused.

**Changes.** Every worker has accepted an access token. Then one of these changes is made, in turn:

{kinds}

After the response to the change, each worker receives {EACH} requests with the token while the others are stopped. A
response as before the change is *stale*.

{table_of(results)}

Measured on {day:%-d %B %Y}, Python {platform.python_version()} on {platform.system()}, {os.cpu_count()} processors that
clients, server and database shared with other work (load average {load:.1f} at the end). The times only show how long
a run takes.
"""


def main() -> int:
    """Soak both databases; 1 if anything was not as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = [soak(f"sqlite:///{Path(folder) / 'soak.db'}", options.rounds, options.requests)]
    with PostgresServer() as server:
        results.append(soak(server.create_database("soak"), options.rounds, options.requests))
    print(f"\n{table_of(results)}")
    if (options.rounds, options.requests) == (ROUNDS, REQUESTS):
        # A shorter run, to try something out, leaves the page alone.
        PAGE.write_text(page_of(results, datetime.now(UTC).date(), os.getloadavg()[0]), encoding="utf-8")
    return 1 if any(figures.broken for figures in results) else 0


if __name__ == "__main__":
    sys.exit(main())
