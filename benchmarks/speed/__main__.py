"""Measure Gatepost beside a bare WSGI function, under gunicorn and granian: `make bench`, `make bench-check`.

Prints medians and ratios of alternating rounds, and writes them to docs/performance.md and
benchmarks/speed/figures.json. With --check nothing is written: the command fails when a ratio is worse than that of
figures.json by 15 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from benchmarks.speed.nginx import compare_with_nginx
from benchmarks.speed.report import Figures, Goodput, Plan, as_page, find_regressions
from benchmarks.speed.servers import (
    PASSWORD,
    SERVERS,
    Target,
    call,
    command,
    gatepost,
    limit,
    log_in,
    refresh_tokens,
    statements_of,
)
from benchmarks.speed.wrk import Load, Run, run
from gatepost.testing.services.gatepost import GatepostServer
from gatepost.testing.services.postgres import PostgresServer

FIGURES = Path(__file__).with_name("figures.json")
PAGE = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
API = "/api/v1"
LOGIN_CONNECTIONS = 8
SQLITE_WRITERS = 4
GOODPUT_CONNECTIONS = (16, 64, 256, 512)
# The number of a user's sessions is limited, and each login ends the one that was idle longest: that of all other
# requests must not be among them.
EMAIL, LOGIN_EMAIL, REFRESH_EMAIL = "bench@example.com", "login@example.com", "refresh@example.com"


@dataclass(frozen=True, slots=True)
class Case:
    """An endpoint of Gatepost, what of the limit it is divided by, and its method and route in the log."""

    ours: Load
    base: Load | None
    route: str
    # Fewer than the plan's where more requests at once would be refused, as with password hashes.
    connections: int | None = None


def make_cases(server: GatepostServer, posts: int) -> list[Case]:
    """Return what is measured; every request that names a user carries a token of one."""
    token = log_in(server.port, EMAIL)["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    of_json = {"Content-Type": "application/json"}
    with_body = bearer | of_json
    text = json.dumps({"title": "t" * 60, "content": "c" * 400})
    _, _, headers = call(server.port, "POST", f"{API}/posts", json.loads(text), token)
    own, tag = headers["location"], headers["etag"]
    # The oldest posts are the last page of the list; the cursor back from them is one near its end.
    _, oldest, _ = call(server.port, "GET", f"{API}/posts?sort=created_at&limit=20")
    deep = f"{API}/posts?sort=created_at&cursor={_near_the_end(server.port, oldest['pagination']['next_cursor'])}"
    listing = Load("list", f"{API}/posts")
    one = Load("one post", f"{API}/posts/{{id}}", ids=posts)
    me = Load("me", f"{API}/auth/me", headers=bearer)
    create = Load("create", f"{API}/posts", "POST", text, with_body)
    post_route = f"{API}/posts/<id:post_id>"
    login = json.dumps({"email": LOGIN_EMAIL, "password": PASSWORD})
    return [
        Case(Load("health", "/health"), Load("health", "/health"), "GET /health"),
        Case(listing, listing, f"GET {API}/posts"),
        Case(replace(listing, name="deep list", target=deep), listing, f"GET {API}/posts"),
        Case(one, one, f"GET {post_route}"),
        Case(Load("one post, 304", own, headers={"If-None-Match": tag}), one, f"GET {post_route}"),
        Case(me, me, f"GET {API}/auth/me"),
        Case(create, create, f"POST {API}/posts"),
        Case(replace(create, name="update", method="PATCH", target=own), create, f"PATCH {post_route}"),
        Case(
            Load("refresh", f"{API}/auth/refresh", "POST", '{"refresh_token": "{token}"}', of_json),
            None,
            f"POST {API}/auth/refresh",
        ),
        Case(
            Load("login", f"{API}/auth/login", "POST", login, of_json),
            None,
            f"POST {API}/auth/login",
            connections=LOGIN_CONNECTIONS,
        ),
    ]


def renewed(server: GatepostServer, load: Load, connections: int) -> Load:
    """Return a load as it can be sent again: one that uses tokens up gets new ones."""
    if load.name != "refresh":
        return load
    # Those of the last run have been used, each up to a request that was cut off. wrk makes one request too many, to
    # see how many it is.
    return replace(load, tokens=refresh_tokens(server.port, REFRESH_EMAIL, connections + 1))


def _near_the_end(port: int, cursor: str) -> str:
    """Walk a little, so that the cursor is one that a reader of the list would have."""
    for _ in range(3):
        _, page, _ = call(port, "GET", f"{API}/posts?sort=created_at&cursor={cursor}")
        cursor = page["pagination"]["next_cursor"]
    return cursor


@dataclass(frozen=True, slots=True)
class Pair:
    """Gatepost and the bare function under the same server."""

    server: str
    ours: Target
    base: Target | None


def measure(pairs: list[Pair], cases: list[Case], plan: Plan, gateposts: list[GatepostServer]) -> dict[str, Any]:
    """Run every case on every server in alternating rounds; return the medians by server and endpoint."""
    found: dict[tuple[str, str], list[tuple[Run, Run | None]]] = {}
    for number in range(plan.rounds + 1):
        for case in cases:
            for pair in pairs if number % 2 else pairs[::-1]:
                runs = _one_round(case, pair, plan, gateposts[0], number)
                if number:  # the first round warms up
                    found.setdefault((pair.server, case.ours.name), []).append(runs)
    table: dict[str, Any] = {}
    for pair, running in zip(pairs, gateposts, strict=True):
        counts = statements_of(running.log_text())
        table[pair.server] = {
            case.ours.name: _medians(found[pair.server, case.ours.name], counts.get(case.route)) for case in cases
        }
    return table


def _one_round(case: Case, pair: Pair, plan: Plan, server: GatepostServer, number: int) -> tuple[Run, Run | None]:
    seconds = plan.seconds if number else 1
    connections = case.connections or plan.connections
    ours = renewed(server, case.ours, connections)
    targets = [(pair.ours, ours)]
    if pair.base is not None and case.base is not None:
        targets.insert(number % 2, (pair.base, case.base))
    runs = {
        target.name: run(target.url, load, pid=target.pid, connections=connections, seconds=seconds)
        for target, load in targets
    }
    return runs[pair.ours.name], runs.get(pair.base.name) if pair.base else None


def _medians(pairs: list[tuple[Run, Run | None]], statements: int | None) -> Figures:
    both = [(ours, base) for ours, base in pairs if base is not None]
    return Figures(
        per_second=statistics.median(ours.per_second for ours, _ in pairs),
        p50_ms=statistics.median(ours.p50_ms for ours, _ in pairs),
        p99_ms=statistics.median(ours.p99_ms for ours, _ in pairs),
        cpu_us=statistics.median(ours.cpu_us for ours, _ in pairs),
        statements=statements,
        ratio=statistics.median(ours.per_second / base.per_second for ours, base in both) if both else None,
        cpu_ratio=statistics.median(ours.cpu_us / base.cpu_us for ours, base in both) if both else None,
    )


def measure_goodput(pairs: list[Pair], plan: Plan) -> dict[str, list[Goodput]]:
    """Ask for lists at growing numbers of connections; return what each server served."""
    listing = Load("list", f"{API}/posts")
    found: dict[str, dict[int, list[Run]]] = {pair.server: {n: [] for n in GOODPUT_CONNECTIONS} for pair in pairs}
    for number in range(plan.rounds):
        for connections in GOODPUT_CONNECTIONS:
            for pair in pairs if number % 2 else pairs[::-1]:
                options = {"pid": pair.ours.pid, "connections": connections, "seconds": plan.seconds}
                found[pair.server][connections].append(run(pair.ours.url, listing, may_fail=True, **options))
    return {
        server: [
            Goodput(n, statistics.median(one.per_second for one in runs), sum(one.failed for one in runs))
            for n, runs in points.items()
        ]
        for server, points in found.items()
    }


def measure_database(kind: str, plan: Plan, posts: int) -> tuple[dict[str, Any], dict[str, list[Goodput]]]:
    """Measure on one kind of database; goodput on PostgreSQL only."""
    with ExitStack() as stack:
        url = stack.enter_context(database(kind, posts))
        gateposts = [stack.enter_context(gatepost(url, server)) for server in SERVERS]
        pairs = []
        for name, server in zip(SERVERS, gateposts, strict=True):
            # The bare function works on PostgreSQL only.
            base = None if kind == "sqlite" else stack.enter_context(limit(url, name))
            pairs.append(Pair(name, Target(f"gatepost on {name}", server.url, server.pid), base))
        cases = [case for case in make_cases(gateposts[0], posts) if not plan.only or case.ours.name in plan.only]
        if kind == "sqlite":
            # 64 clients that write to one file without a pause make each other wait until some are refused
            # (DB_LOCK_TIMEOUT_MS), and a refused refresh leaves the load without the session's token.
            cases = [_with_few_writers(case) for case in cases if case.ours.name != "refresh"]
        figures = measure(pairs, cases, plan, gateposts)
        has_goodput = kind == "postgresql" and (not plan.only or "goodput" in plan.only)
        return figures, measure_goodput(pairs, plan) if has_goodput else {}


def _with_few_writers(case: Case) -> Case:
    is_read = case.ours.method == "GET"
    return case if is_read else replace(case, connections=min(SQLITE_WRITERS, case.connections or SQLITE_WRITERS))


@contextmanager
def database(kind: str, posts: int) -> Iterator[str]:
    """Make a database of 1,000 users and `posts` posts, one more user to be, and statistics on them."""
    if kind == "sqlite":
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{Path(folder) / 'speed.db'}"
            _fill(url, posts)
            yield url
        return
    with PostgresServer() as server:
        url = server.create_database("speed")
        _fill(url, posts)
        yield url


def _fill(url: str, posts: int) -> None:
    command(url, "db", "upgrade")
    command(url, "--users", "1000", "--posts", str(posts), module="tools.seed")
    for email in (EMAIL, LOGIN_EMAIL, REFRESH_EMAIL):
        command(url, "users", "create-admin", "--email", email, "--name", "Bench")
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
    with engine.begin() as connection:
        # Whichever id is asked for at random must be there for anyone.
        connection.execute(text("UPDATE posts SET status = 'published', published_at = created_at"))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE"))
    engine.dispose()


def main() -> None:
    """Measure, then print, write or compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with figures.json instead of writing it")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--only", default="", help="names of endpoints, or goodput, with commas")
    parser.add_argument("--databases", default="postgresql,sqlite")
    parser.add_argument("--nginx", action="store_true", help="compare reads through nginx with direct ones instead")
    options = parser.parse_args()
    only = frozenset(filter(None, options.only.split(",")))
    plan = Plan(options.rounds, options.seconds, options.connections, only)
    if options.nginx:
        with database("postgresql", options.posts) as url:
            sys.exit(compare_with_nginx(url, plan, options.posts))
    figures: dict[str, Any] = {}
    goodput: dict[str, list[Goodput]] = {}
    try:
        for kind in options.databases.split(","):
            figures[kind], points = measure_database(kind, plan, options.posts)
            goodput |= points
    finally:
        # Also after a failure: what was measured until then took minutes.
        page = as_page(figures, goodput, plan, options.posts)
        print(page)
    if options.check:
        sys.exit(find_regressions(figures, FIGURES))
    if not only:
        FIGURES.write_text(json.dumps(figures, default=vars_of, indent=1) + "\n", encoding="utf-8")
        _write_page(page)


def vars_of(figures: Figures) -> Mapping[str, Any]:
    """Return figures as JSON can hold them."""
    return {name: getattr(figures, name) for name in Figures.__slots__}


def _write_page(table: str) -> None:
    begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(begin)
    PAGE.write_text(head + begin + table + end + rest.partition(end)[2], encoding="utf-8")


if __name__ == "__main__":
    main()
