"""Compare the last page of every list with its first, and many rows with few: `make bench-scale`.

Prints Markdown tables of median times. The requests run in one process without a network, so that the time of the
database is a large part of the total. Fails if a page at or near the end of a list takes more than 1.3 times as long as
the first page. Then compares numbered pages and filters with many rows and with few.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.scale.rows import AUTHOR, EDGE, PASSWORD, PUBLISHER, Filler
from benchmarks.scale.watch import Cost, Watched
from benchmarks.speed.servers import machine
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import migrate

FEW_USERS, FEW_POSTS = 1000, 1000
BOUND = 1.3
PAGES_BACK = 5


@dataclass(frozen=True, slots=True)
class List:
    """A list in one sort order: its path, the id of the user that requests it, and the path of its last page."""

    name: str
    path: str
    caller: int | None
    last: str = ""


def lists() -> list[List]:
    """Return every list that grows with the data, in every order."""
    kinds = [
        ("posts", "/posts?", None, ("published_at", "created_at", "updated_at", "title")),
        ("posts of an author", f"/users/{AUTHOR}/posts?", None, ("published_at", "created_at", "updated_at", "title")),
        ("own drafts", "/posts?status=draft&", AUTHOR, ("created_at", "updated_at", "title")),
        ("few own drafts", "/posts?status=draft&", PUBLISHER, ("created_at", "updated_at", "title")),
        ("own posts and drafts", f"/users/{AUTHOR}/posts?", AUTHOR, ("created_at", "updated_at", "title")),
        ("users", "/users?", AUTHOR, ("created_at", "name")),
    ]
    return [
        List(f"{name}, `{sign}{key}`", f"{path}sort={sign}{key}", caller)
        for name, path, caller, keys in kinds
        for key in keys
        for sign in ("-", "")
    ]


def walk(watched: Watched, token: str, found: List) -> List:
    """Return the list with the path of its last page. The database must contain only the rows of `write_edges`."""
    path = found.path
    while True:
        page = watched.call("GET", path, token)[0].get_json()["pagination"]
        if page["next_cursor"] is None:
            return List(found.name, found.path, found.caller, path)
        path = f"{found.path}&cursor={page['next_cursor']}"


def step_back(watched: Watched, token: str, path: str, found: List) -> str:
    """Return the path of a page PAGES_BACK pages before the one at `path`, or of the second page if there are fewer."""
    before = path
    for _ in range(PAGES_BACK + 1):
        page = watched.call("GET", path, token)[0].get_json()["pagination"]
        if page["prev_cursor"] is None:
            break
        before, path = path, f"{found.path}&cursor={page['prev_cursor']}"
    return before


@contextmanager
def filled(server: PostgresServer, name: str, users: int, posts: int) -> Iterator[tuple[Watched, list[List]]]:
    """Create a database of this size. Gives the application on it, and its lists with the paths of their last pages."""
    url = server.create_database(name)
    migrate(url)
    filler = Filler(url)
    filler.write_edges()
    watched = Watched(url)
    tokens = tokens_of_callers(watched)
    ends = [walk(watched, tokens[one.caller], one) for one in lists()]
    began = time.monotonic()
    filler.write_bulk(users, posts)
    seconds = time.monotonic() - began
    print(f"{name}: {users:,} users, {posts:,} posts, {filler.size_of()}, in {seconds:.0f} s", file=sys.stderr)
    filler.close()
    try:
        yield watched, ends
    finally:
        watched.close()


def tokens_of_callers(watched: Watched) -> dict[int | None, str]:
    """Return an access token for each user that requests a list, and an empty one for anonymous requests."""
    return {None: "", **{number: sign_in(watched, number)[0] for number in (AUTHOR, PUBLISHER)}}


def sign_in(watched: Watched, number: int) -> tuple[str, str, Cost]:
    """Sign a user in. Returns the access token, the refresh token and the cost."""
    body = {"email": f"u{number}@example.com", "password": PASSWORD}
    response, cost = watched.call("POST", "/auth/login", json=body)
    return response.get_json()["access_token"], response.get_json()["refresh_token"], cost


def compare_lists(few: Watched, many: Watched, ends: list[List], rounds: int) -> bool:
    """Print the table of the lists. Returns whether no ratio exceeds BOUND."""
    tokens = {watched: tokens_of_callers(watched) for watched in (few, many)}
    print("| list, order | first page of few | first page | near the end | last page | last : first | SQL | index |")
    print("|---|---|---|---|---|---|---|---|")
    is_kept = True
    for one in ends:
        token = {watched: tokens[watched][one.caller] for watched in (few, many)}
        near = step_back(many, token[many], one.last, one)
        places = {
            "few": (few, one.path),
            "first": (many, one.path),
            "near": (many, near),
            "last": (many, one.last),
        }
        costs: dict[str, list[Cost]] = {place: [] for place in places}
        for number in range(rounds + 5):
            for place, (watched, path) in places.items():
                cost = watched.call("GET", path, token[watched])[1]
                if number >= 5:
                    costs[place].append(cost)
        total = {place: statistics.median(cost.total for cost in found) for place, found in costs.items()}
        sql = {place: statistics.median(cost.sql for cost in found) for place, found in costs.items()}
        plans = dict.fromkeys(
            str(many.plan_of_list(places[place][1], token[many])) for place in ("first", "near", "last")
        )
        ratio = _ratio(costs["last"], costs["first"])
        print(
            f"| {one.name} | {total['few']:.2f} | {total['first']:.2f} | {total['near']:.2f} | {total['last']:.2f} "
            f"| {ratio:.2f} | {sql['first']:.2f} → {sql['last']:.2f} | {' / '.join(plans)} |",
            flush=True,
        )
        is_kept = is_kept and max(ratio, _ratio(costs["near"], costs["first"])) <= BOUND
    return is_kept


def _ratio(ones: list[Cost], others: list[Cost]) -> float:
    """Return the median of the ratios of requests that ran one after the other, under the same load of the machine."""
    return statistics.median(one.rest / other.rest for one, other in zip(ones, others, strict=True))


def filtered_lists() -> list[tuple[str, str, int | None]]:
    """Return lists with page numbers or filters: name, path and caller. Those in brackets match no row, or few."""
    early, late, never = "2024-01-02T00:00:00Z", "2025-11-01T00:00:00Z", "2030-01-01T00:00:00Z"
    return [
        ("page 1", "/posts?page=1", None),
        ("page 500", "/posts?page=500", None),
        ("page 1, `title`", "/posts?page=1&sort=title", None),
        ("page 1, posts of an author", f"/users/{AUTHOR}/posts?page=1", None),
        ("page 1, own posts and drafts", f"/users/{AUTHOR}/posts?page=1", AUTHOR),
        ("page 1, few own drafts", "/posts?status=draft&page=1", PUBLISHER),
        ("page 1, users", "/users?page=1", AUTHOR),
        ("published after", f"/posts?published_after={late}", None),
        ("published after, page 1", f"/posts?published_after={late}&page=1", None),
        ("created after, `title`", f"/posts?created_after={late}&sort=title", None),
        ("created after, `title`, page 1", f"/posts?created_after={late}&sort=title&page=1", None),
        ("(created before), `-published_at`", f"/posts?created_before={early}", None),
        ("(created before), `-published_at`, page 1", f"/posts?created_before={early}&page=1", None),
        ("(created after), `title`", f"/posts?created_after={never}&sort=title", None),
        ("(created after), `title`, page 1", f"/posts?created_after={never}&sort=title&page=1", None),
        (
            "(two times that exclude each other)",
            f"/posts?created_before={late}&published_after={late}&sort=title",
            None,
        ),
        ("search of users", "/users?q=ab&sort=name", AUTHOR),
        ("search of users, page 1", "/users?q=ab&sort=name&page=1", AUTHOR),
        ("(search of users)", "/users?q=zzzz&sort=name", AUTHOR),
        ("whole contents", "/posts?include=content", None),
    ]


def compare_filters(few: Watched, many: Watched, rounds: int) -> None:
    """Print the table of numbered pages and filters."""
    tokens = {watched: tokens_of_callers(watched) for watched in (few, many)}
    print("\n| list | of few | of many | many : few | SQL | statements |\n|---|---|---|---|---|---|")
    for name, path, caller in filtered_lists():
        costs: dict[Watched, list[Cost]] = {few: [], many: []}
        for number in range(rounds + 5):
            for watched, found in costs.items():
                # 422: a numbered page would need too many rows.
                cost = watched.call("GET", path, tokens[watched][caller], expected=(200, 422))[1]
                if number >= 5:
                    found.append(cost)
        total = {watched: statistics.median(cost.total for cost in found) for watched, found in costs.items()}
        sql = {watched: statistics.median(cost.sql for cost in found) for watched, found in costs.items()}
        print(
            f"| {name} | {total[few]:.2f} | {total[many]:.2f} | {_ratio(costs[many], costs[few]):.2f} "
            f"| {sql[few]:.2f} → {sql[many]:.2f} | {costs[many][0].statements} |",
            flush=True,
        )


def compare_sessions(few: Watched, many: Watched, users: int, rounds: int) -> None:
    """Print the table of logins, refreshes and `GET /auth/me`."""
    chosen = random.Random(1)  # the same users each time
    costs: dict[tuple[str, Watched], list[Cost]] = {}
    for _ in range(rounds):
        for watched, count in ((few, FEW_USERS), (many, users)):
            number = chosen.randint(2 * EDGE + 1, count)
            access, refresh, cost = sign_in(watched, number)
            _, rotated = watched.call("POST", "/auth/refresh", json={"refresh_token": refresh})
            _, me = watched.call("GET", "/auth/me", access)
            for name, found in (("login without the password hash", cost), ("refresh", rotated), ("me", me)):
                costs.setdefault((name, watched), []).append(found)
    print(f"\n| | with {FEW_USERS:,} | with {users:,} | ratio | SQL |\n|---|---|---|---|---|")
    for name in ("login without the password hash", "refresh", "me"):
        rest = [statistics.median(cost.rest for cost in costs[name, watched]) for watched in (few, many)]
        ratio = _ratio(costs[name, many], costs[name, few])
        sql = [statistics.median(cost.sql for cost in costs[name, watched]) for watched in (few, many)]
        print(f"| {name} | {rest[0]:.2f} | {rest[1]:.2f} | {ratio:.2f} | {sql[0]:.2f} → {sql[1]:.2f} |")


def main() -> int:
    """Fill two databases and compare them. Returns 1 if a list gets slower towards its end, otherwise 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=1_000_000)
    parser.add_argument("--users", type=int, default=1_000_000, help="as many sessions too")
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    with (
        PostgresServer() as server,
        filled(server, "few", FEW_USERS, FEW_POSTS) as (few, _),
        filled(server, "many", options.users, options.posts) as (many, ends),
    ):
        print(f"{machine()}; {options.posts:,} posts; {options.rounds} requests each, in turn; medians in ms.\n")
        is_kept = compare_lists(few, many, ends, options.rounds)
        compare_filters(few, many, options.rounds)
        compare_sessions(few, many, options.users, options.rounds)
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
