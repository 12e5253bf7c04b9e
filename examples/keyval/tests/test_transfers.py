"""Transfers: both items change or none, and no value becomes negative."""

from __future__ import annotations

from typing import Any

import pytest

from examples.keyval.schemas import MAX_NUMBER
from gatepost.testing.cast import Clock, Person, problem


@pytest.fixture
def owner(alice: Person) -> Person:
    """Alice, with two numbers and a text."""
    for key, val in {"a": 100, "b": 0, "debt": -1, "text": "100", "full": MAX_NUMBER}.items():
        assert alice.post("/items", json={"key": key, "val": val}).status_code == 201
    return alice


def transfer(person: Person, source: Any, target: Any, amount: Any, **headers: str) -> Any:
    """Send a transfer; return the response."""
    return person.post("/transfers", json={"from": source, "to": target, "amount": amount}, headers=headers)


def values(person: Person) -> dict[str, Any]:
    """Return the values of all items."""
    return {item["key"]: item["val"] for item in person.get("/items").get_json()["items"]}


def test_a_transfer_moves_the_amount(owner: Person, clock: Clock) -> None:
    before = {key: owner.get(f"/items/{key}") for key in "ab"}
    clock.forward(seconds=1)
    response = transfer(owner, "a", "b", 60)
    assert response.status_code == 200
    answer = response.get_json()
    assert answer.keys() == {"from", "to"}
    assert [(item["key"], item["val"]) for item in answer.values()] == [("a", 40), ("b", 60)]
    for item, key in zip(answer.values(), "ab", strict=True):
        now = owner.get(f"/items/{key}")
        assert now.get_json() == item
        assert item["updated_at"] > before[key].get_json()["updated_at"]
        # A change that was prepared before the transfer must not overwrite it.
        stale = {"If-Match": before[key].headers["ETag"]}
        assert problem(owner.put(f"/items/{key}", json={"val": 0}, headers=stale)) == (412, "precondition_failed")
    assert transfer(owner, "b", "a", 60).get_json()["from"]["val"] == 0


@pytest.mark.parametrize(
    ("source", "target", "amount", "expected"),
    [
        ("a", "b", 101, (409, "insufficient_funds")),
        ("b", "a", 1, (409, "insufficient_funds")),
        ("debt", "a", 1, (409, "insufficient_funds")),
        ("a", "full", 1, (409, "conflict")),
        ("a", "none", 1, (404, "not_found")),
        ("none", "a", 1, (404, "not_found")),
        ("none", "neither", 1, (404, "not_found")),
        ("text", "none", 1, (404, "not_found")),
        ("a", "text", 1, (422, "validation_error")),
        ("text", "a", 1, (422, "validation_error")),
        ("a", "a", 1, (422, "validation_error")),
    ],
)
def test_what_is_refused_changes_nothing(
    owner: Person, source: str, target: str, amount: int, expected: tuple[int, str]
) -> None:
    before = values(owner)
    headers = {"Idempotency-Key": "key"}
    for _ in range(2):
        assert problem(transfer(owner, source, target, amount, **headers)) == expected
    assert values(owner) == before


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        ({}, {"from", "to", "amount"}),
        ({"from": "a", "to": "b", "amount": 0}, {"amount"}),
        ({"from": "a", "to": "b", "amount": -1}, {"amount"}),
        ({"from": "a", "to": "b", "amount": 1.0}, {"amount"}),
        ({"from": "a", "to": "b", "amount": "1"}, {"amount"}),
        ({"from": "a", "to": "b", "amount": True}, {"amount"}),
        ({"from": "a", "to": "b", "amount": MAX_NUMBER + 1}, {"amount"}),
        ({"from": 1, "to": None, "amount": 1}, {"from", "to"}),
        ({"from_": "a", "to": "b", "amount": 1}, {"from", "from_"}),
        ({"from": "a", "to": "a", "amount": 1}, {"to"}),
        ({"from": "text", "to": "a", "amount": 1}, {"from"}),
    ],
)
def test_the_errors_have_the_names_of_the_members(owner: Person, body: dict[str, Any], errors: set[str]) -> None:
    response = owner.post("/transfers", json=body)
    assert problem(response) == (422, "validation_error")
    assert response.get_json()["errors"].keys() == errors


def test_the_items_of_others_are_missing(owner: Person, bob: Person) -> None:
    bob.post("/items", json={"key": "mine", "val": 5})
    assert problem(transfer(bob, "a", "mine", 1)) == (404, "not_found")
    assert problem(transfer(bob, "mine", "a", 1)) == (404, "not_found")
    assert values(owner)["a"] == 100


def test_a_repeated_transfer_with_a_key_is_made_once(owner: Person) -> None:
    headers = {"Idempotency-Key": "transfer-1"}
    first, again = (transfer(owner, "a", "b", 10, **headers) for _ in range(2))
    assert (again.status_code, again.data) == (200, first.data)
    assert ("Idempotency-Replayed" in first.headers, again.headers["Idempotency-Replayed"]) == (False, "true")
    assert "ETag" not in first.headers
    assert values(owner)["a"] == 90
    assert problem(transfer(owner, "a", "b", 11, **headers)) == (422, "idempotency_key_reused")
    assert problem(transfer(owner, "b", "a", 10, **headers)) == (422, "idempotency_key_reused")


def test_a_refused_transfer_can_be_repeated_with_the_same_key(owner: Person) -> None:
    headers = {"Idempotency-Key": "transfer-2"}
    assert problem(transfer(owner, "b", "a", 1, **headers)) == (409, "insufficient_funds")
    transfer(owner, "a", "b", 1)
    assert transfer(owner, "b", "a", 1, **headers).status_code == 200
