"""Races between requests for one trip, on a server with several processes."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import chain
from typing import Any

from gatepost.testing.races import Arena, race

ROUNDS = 12


def version(number: int) -> dict[str, Any]:
    """Return a trip whose every member tells its number."""
    place = {"name": f"v{number}", "latitude": number % 90, "longitude": number % 90}
    return {"name": f"v{number}", "destination": f"v{number}", "waypoints": [place] * (number % 5 + 1)}


def numbers_in(trip: dict[str, Any]) -> set[str]:
    """Return the versions whose parts a trip has, and with its name the number of its waypoints."""
    names = {trip["name"], trip["destination"], *(place["name"] for place in trip["waypoints"])}
    number = int(trip["name"].removeprefix("v"))
    assert len(trip["waypoints"]) == number % 5 + 1, trip
    return names


def new_trip(arena: Arena, token: str) -> tuple[str, str]:
    """Create a trip; return its path and its tag."""
    reply = arena.call("POST", "/trips", token=token, body=version(0))
    assert reply.status == 201, reply.content
    return f"/trips/{reply.json['id']}", reply.headers["etag"]


def test_reads_of_a_trip_that_is_replaced_never_mix_two_versions(arena: Arena) -> None:
    token = arena.join().log_in().access
    path, _ = new_trip(arena, token)

    def replace_many(first: int) -> list[Any]:
        return [
            arena.call("PUT", path, token=token, body=version(number)).json for number in range(first, first + ROUNDS)
        ]

    def read_many(target: str) -> list[Any]:
        replies = [arena.call("GET", target, token=token).json for _ in range(2 * ROUNDS)]
        return list(chain.from_iterable(reply.get("items", [reply]) for reply in replies))

    writers = [partial(replace_many, first) for first in (1, 101)]
    readers = [partial(read_many, target) for target in (path, "/trips", path, "/trips?page=1")]
    for trip in chain.from_iterable(race(*writers, *readers)):
        assert len(numbers_in(trip)) == 1, trip


def test_of_several_changes_with_one_tag_one_is_made(arena: Arena) -> None:
    token = arena.join().log_in().access
    for _ in range(5):
        path, tag = new_trip(arena, token)
        changes: list[dict[str, Any]] = [{"name": "v1"}, {"waypoints": version(2)["waypoints"]}, {"destination": "v3"}]
        changes += [{"waypoints": []}, {"name": "v4"}]
        replies = race(
            *(partial(arena.call, "PATCH", path, token=token, body=body, headers={"If-Match": tag}) for body in changes)
        )
        assert Counter(reply.outcome for reply in replies) == {(200, ""): 1, (412, "precondition_failed"): 4}
        [made] = [(reply, body) for reply, body in zip(replies, changes, strict=True) if reply.status == 200]
        read = arena.call("GET", path, token=token)
        assert read.headers["etag"] == made[0].headers["etag"]
        assert {**read.json, **made[1]} == read.json


def test_changes_of_different_members_are_all_kept(arena: Arena) -> None:
    token = arena.join().log_in().access
    path, _ = new_trip(arena, token)
    changes: list[dict[str, Any]] = [{"name": "n"}, {"destination": "d"}, {"waypoints": version(4)["waypoints"]}]
    replies = race(*(partial(arena.call, "PATCH", path, token=token, body=body) for body in changes))
    assert {reply.outcome for reply in replies} == {(200, "")}
    trip = arena.call("GET", path, token=token).json
    assert {name: trip[name] for name in ("name", "destination")} == {"name": "n", "destination": "d"}
    assert trip["waypoints"] == version(4)["waypoints"]


def test_a_trip_is_deleted_once_and_not_changed_afterwards(arena: Arena) -> None:
    token = arena.join().log_in().access
    for _ in range(3):
        path, _ = new_trip(arena, token)
        replies = race(
            *[partial(arena.call, "DELETE", path, token=token)] * 3,
            *[partial(arena.call, "PUT", path, token=token, body=version(3))] * 3,
        )
        assert [reply.status for reply in replies[:3]].count(204) == 1
        assert {reply.outcome for reply in replies} <= {(200, ""), (204, ""), (404, "not_found")}
        assert arena.call("GET", path, token=token).status == 404
        assert arena.number("SELECT count(*) FROM waypoints") == 0
