"""Races between changes of items, on a server with several processes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

from gatepost.testing.races import Arena, Reply, race

KEYS = ("a", "b", "c")
NOT_YET = (409, "idempotency_in_progress")


def put(arena: Arena, token: str, key: str, val: Any, headers: Mapping[str, str] | None = None) -> Reply:
    """Set an item."""
    return arena.call("PUT", f"/items/{key}", token=token, body={"val": val}, headers=headers)


def transfer(
    arena: Arena, token: str, source: str, target: str, amount: int, headers: Mapping[str, str] | None = None
) -> Reply:
    """Send a transfer."""
    body = {"from": source, "to": target, "amount": amount}
    return arena.call("POST", "/transfers", token=token, body=body, headers=headers)


def values(arena: Arena, token: str) -> dict[str, int]:
    """Return the values of all items."""
    return {item["key"]: item["val"] for item in arena.call("GET", "/items", token=token).json["items"]}


def random_pair(chosen: random.Random) -> tuple[str, str]:
    """Return two different keys."""
    source, target = chosen.sample(KEYS, 2)
    return source, target


def test_a_hundred_transfers_in_all_directions_keep_the_sum(arena: Arena) -> None:
    token = arena.join().log_in().access
    for key in KEYS:
        assert put(arena, token, key, 50).status == 201
    chosen = random.Random(1)
    transfers = [(*random_pair(chosen), chosen.randint(1, 40)) for _ in range(100)]
    replies = race(*(partial(transfer, arena, token, *one) for one in transfers))
    assert {reply.outcome for reply in replies} <= {(200, ""), (409, "insufficient_funds")}
    expected = dict.fromkeys(KEYS, 50)
    for (source, target, amount), reply in zip(transfers, replies, strict=True):
        if reply.status == 200:
            assert min(item["val"] for item in reply.json.values()) >= 0
            expected[source] -= amount
            expected[target] += amount
    assert values(arena, token) == expected
    assert sum(expected.values()) == 150
    assert min(expected.values()) >= 0


def test_of_a_hundred_transfers_only_as_many_succeed_as_are_covered(arena: Arena) -> None:
    token = arena.join().log_in().access
    put(arena, token, "a", 30)
    put(arena, token, "b", 0)
    replies = race(*[partial(transfer, arena, token, "a", "b", 1)] * 100)
    assert Counter(reply.outcome for reply in replies) == {(200, ""): 30, (409, "insufficient_funds"): 70}
    assert values(arena, token) == {"a": 0, "b": 30}
    assert sorted(reply.json["to"]["val"] for reply in replies if reply.status == 200) == list(range(1, 31))


def test_a_transfer_that_is_sent_many_times_with_one_key_is_made_once(arena: Arena) -> None:
    token = arena.join().log_in().access
    put(arena, token, "a", 100)
    put(arena, token, "b", 0)
    send = partial(transfer, arena, token, "a", "b", 10, {"Idempotency-Key": "one"})
    replies = race(*[send] * 20)
    assert {reply.outcome for reply in replies} <= {(200, ""), NOT_YET}
    assert len({reply.content for reply in [*replies, send()] if reply.status == 200}) == 1
    assert values(arena, token) == {"a": 90, "b": 10}


def test_a_key_is_created_once(arena: Arena) -> None:
    token = arena.join().log_in().access
    for number in range(4):
        key = f"key-{number}"
        body = {"key": key, "val": 1}
        post = partial(arena.call, "POST", "/items", token=token, body=body)
        replies = race(*[post, partial(put, arena, token, key, 2), partial(put, arena, token, key, 2)] * 4)
        counted = Counter(reply.outcome for reply in replies)
        assert counted[201, ""] == 1
        assert counted.keys() <= {(201, ""), (200, ""), (409, "key_taken")}
        assert arena.number("SELECT count(*) FROM items WHERE key = :key", key=key) == 1
        only_new = [partial(put, arena, token, f"new-{number}", n, {"If-None-Match": "*"}) for n in range(8)]
        counted = Counter(reply.outcome for reply in race(*only_new))
        assert counted == {(201, ""): 1, (412, "precondition_failed"): 7}


def test_compare_and_set_counts_every_increment(arena: Arena) -> None:
    token = arena.join().log_in().access
    put(arena, token, "counter", 0)

    def increment() -> int:
        attempts = 0
        while True:
            attempts += 1
            read = arena.call("GET", "/items/counter", token=token)
            reply = put(arena, token, "counter", read.json["val"] + 1, {"If-Match": read.headers["etag"]})
            if reply.outcome == (200, ""):
                return attempts
            assert reply.outcome == (412, "precondition_failed")

    assert sum(race(*[increment] * 12)) >= 12
    assert values(arena, token) == {"counter": 12}


def test_deletes_and_creations_of_one_key_at_once_leave_it_or_not(arena: Arena) -> None:
    token = arena.join().log_in().access
    delete = partial(arena.call, "DELETE", "/items/k", token=token)
    replies = race(*[delete, partial(put, arena, token, "k", 1)] * 12)
    counted = Counter(reply.outcome for reply in replies)
    assert counted.keys() <= {(200, ""), (201, ""), (204, ""), (404, "not_found")}
    left = arena.number("SELECT count(*) FROM items")
    assert counted[201, ""] - counted[204, ""] == left
