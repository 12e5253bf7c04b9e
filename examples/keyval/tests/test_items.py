"""The rules of items: keys, values, and the preconditions of changes."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from examples.keyval.schemas import MAX_NUMBER
from gatepost.testing.cast import Clock, Person, problem

ABSENT = {"If-None-Match": "*"}


def path_of(key: str, safe: str = "") -> str:
    """Return the path of an item."""
    return f"/items/{quote(key, safe=safe)}"


def put(person: Person, key: str, val: Any, **headers: str) -> Any:
    """Set an item; return the response."""
    return person.put(path_of(key), json={"val": val}, headers=headers)


def test_an_item_is_created_once_for_each_user(alice: Person, bob: Person) -> None:
    response = alice.post("/items", json={"key": "colour", "val": "red"})
    assert response.status_code == 201
    item = response.get_json()
    assert item.keys() == {"key", "val", "created_at", "updated_at"}
    assert (item["key"], item["val"]) == ("colour", "red")
    read = alice.get(response.headers["Location"].removeprefix("/api/v1"))
    assert (read.get_json(), read.headers["ETag"]) == (item, response.headers["ETag"])
    assert problem(alice.post("/items", json={"key": "colour"})) == (409, "key_taken")
    assert bob.post("/items", json={"key": "colour"}).get_json()["val"] == "EMPTY"
    assert alice.get("/items/colour").get_json() == item


def test_items_belong_to_one_user(alice: Person, bob: Person, carol: Person) -> None:
    put(alice, "colour", "red")
    for other in (bob, carol):
        assert problem(other.get("/items/colour")) == (404, "not_found")
        assert problem(other.delete("/items/colour")) == (404, "not_found")
        assert other.get("/items").get_json()["items"] == []
        assert put(other, "colour", "blue").status_code == 201
    assert alice.get("/items/colour").get_json()["val"] == "red"


VALUES = ["", " ", "a\tb\nc", "1", "é" * 10_000, "\U0001f600", 0, -5, MAX_NUMBER, -MAX_NUMBER]


@pytest.mark.parametrize("val", VALUES, ids=repr)
def test_a_value_is_returned_as_it_was_sent(alice: Person, val: Any) -> None:
    for response in (alice.post("/items", json={"key": "k", "val": val}), alice.get("/items/k")):
        found = response.get_json()["val"]
        assert (found, type(found)) == (val, type(val))
    assert alice.get("/items").get_json()["items"][0]["val"] == val


@pytest.mark.parametrize("val", [None, True, 1.0, 1e300, [], {}, "a\0b", "é" * 10_001, MAX_NUMBER + 1, -MAX_NUMBER - 1])
def test_other_values_are_refused(alice: Person, val: Any) -> None:
    put(alice, "k", 1)
    for response in (alice.post("/items", json={"key": "new", "val": val}), put(alice, "k", val)):
        assert problem(response) == (422, "validation_error")
        assert list(response.get_json()["errors"]) == ["val"]
    assert [item["val"] for item in alice.get("/items").get_json()["items"]] == [1]


KEYS = [
    "a/b",
    "a%2Fb",
    "%",
    "a b",
    "a+b",
    "?",
    "#",
    "é",
    "e\u0301",
    "\U0001f600",
    ".a",
    "a.",
    "...",
    "a/.b/c..",
    "k" * 200,
]


@pytest.mark.parametrize("key", KEYS)
def test_a_key_is_the_end_of_a_path(alice: Person, key: str) -> None:
    response = alice.post("/items", json={"key": key, "val": "v"})
    location = response.headers["Location"].removeprefix("/api/v1")
    for path in {location, path_of(key), path_of(key, safe="/")}:
        assert alice.get(path).get_json()["key"] == key
        assert alice.put(path, json={"val": path}).status_code == 200
        assert alice.get(location).get_json()["val"] == path
    assert alice.delete(location).status_code == 204
    assert put(alice, key, 1).headers["Location"] == f"/api/v1{location}"


IMPOSSIBLE = [
    "",
    " ",
    "\u200b",
    ".",
    "..",
    "./a",
    "a/..",
    "a/./b",
    "/a",
    "a/",
    "a//b",
    "/",
    "k" * 201,
    "a\ufffd",
    "\u202ea",
]


@pytest.mark.parametrize("key", IMPOSSIBLE, ids=ascii)
def test_a_key_that_no_path_can_have_is_refused(alice: Person, key: str) -> None:
    for method in ("GET", "DELETE"):
        assert problem(alice.call(method, path_of(key))) in {(404, "not_found"), (405, "method_not_allowed")}
    assert put(alice, key, 1).status_code in {404, 405, 422}
    response = alice.post("/items", json={"key": key})
    assert (problem(response), list(response.get_json()["errors"])) == ((422, "validation_error"), ["key"])
    response = alice.post("/transfers", json={"from": key, "to": "b", "amount": 1})
    assert (problem(response), list(response.get_json()["errors"])) == ((422, "validation_error"), ["from"])
    assert alice.get("/items").get_json()["items"] == []


@pytest.mark.parametrize("raw", ["%00", "a%0Ab", "%FF", "%ED%A0%80", "k" * 2000])
def test_a_path_that_is_no_text_makes_no_item(alice: Person, raw: str) -> None:
    assert problem(alice.get(f"/items/{raw}")) == (404, "not_found")
    assert alice.put(f"/items/{raw}", json={}).status_code in {404, 422}
    assert alice.get("/items").get_json()["items"] == []


def test_put_creates_and_then_replaces(alice: Person, clock: Clock) -> None:
    created = put(alice, "k", "one")
    assert (created.status_code, created.headers["Location"]) == (201, "/api/v1/items/k")
    clock.forward(seconds=1)
    replaced = put(alice, "k", 2)
    assert (replaced.status_code, "Location" in replaced.headers) == (200, False)
    before, after = created.get_json(), replaced.get_json()
    assert (after["val"], after["created_at"]) == (2, before["created_at"])
    assert after["updated_at"] > before["updated_at"]
    clock.forward(seconds=1)
    # The same value again changes nothing, and neither does a request without effect.
    assert put(alice, "k", 2).headers["ETag"] == replaced.headers["ETag"]
    assert alice.get("/items/k").headers["ETag"] == replaced.headers["ETag"]
    assert alice.put("/items/k", json={}).get_json()["val"] == "EMPTY"
    assert problem(alice.put("/items/k", json={"key": "k", "val": 1})) == (422, "validation_error")


def test_if_match_on_put_and_delete(alice: Person) -> None:
    for tag in ('"stale"', "*"):
        assert problem(put(alice, "k", 1, **{"If-Match": tag})) == (412, "precondition_failed")
    assert problem(alice.get("/items/k")) == (404, "not_found")
    first = put(alice, "k", 1).headers["ETag"]
    second = put(alice, "k", 2, **{"If-Match": first}).headers["ETag"]
    for tag in (first, f"W/{second}", '"stale"'):
        assert problem(put(alice, "k", 3, **{"If-Match": tag})) == (412, "precondition_failed")
        assert problem(alice.delete("/items/k", headers={"If-Match": tag})) == (412, "precondition_failed")
    assert alice.get("/items/k").get_json()["val"] == 2
    assert put(alice, "k", 3, **{"If-Match": "*"}).status_code == 200
    assert alice.delete("/items/k", headers={"If-Match": "*"}).status_code == 204
    assert problem(alice.delete("/items/k")) == (404, "not_found")


def test_if_none_match_on_put_creates_only(alice: Person) -> None:
    created = put(alice, "k", 1, **ABSENT)
    assert created.status_code == 201
    assert problem(put(alice, "k", 2, **ABSENT)) == (412, "precondition_failed")
    assert problem(put(alice, "k", 2, **{"If-None-Match": created.headers["ETag"]})) == (412, "precondition_failed")
    assert alice.get("/items/k").get_json()["val"] == 1
    assert put(alice, "k", 2, **{"If-None-Match": '"other"'}).status_code == 200
    assert problem(put(alice, "j", 2, **{"If-None-Match": "*", "If-Match": "*"})) == (412, "precondition_failed")


def test_a_repeated_creation_with_a_key_gets_the_first_response(alice: Person) -> None:
    headers = {"Idempotency-Key": "one"}
    first, again = (alice.post("/items", json={"key": "k"}, headers=headers) for _ in range(2))
    assert (again.status_code, again.data, again.headers["Location"]) == (201, first.data, first.headers["Location"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert problem(alice.post("/items", json={"key": "j"}, headers=headers)) == (422, "idempotency_key_reused")


def test_the_list_is_in_the_order_of_keys(alice: Person, clock: Clock) -> None:
    keys = ["b", "Z", "é", "a", "a/b", "\U0001f600"]
    for key in keys:
        clock.forward(seconds=1)
        put(alice, key, key)

    def listed(query: str) -> list[str]:
        return [item["key"] for item in alice.get(f"/items{query}").get_json()["items"]]

    assert listed("") == sorted(keys)
    assert listed("?sort=-created_at") == keys[::-1]
    found: list[str] = []
    page = alice.get("/items?limit=4").get_json()
    found += [item["key"] for item in page["items"]]
    page = alice.get(f"/items?limit=4&cursor={page['pagination']['next_cursor']}").get_json()
    assert found + [item["key"] for item in page["items"]] == sorted(keys)
    assert problem(alice.get("/items?sort=val")) == (422, "validation_error")


def test_the_items_are_exported_and_deleted_with_the_account(alice: Person) -> None:
    put(alice, "a", 1)
    put(alice, "b", "text")
    exported = alice.get(f"/users/{alice.id}/export").get_json()["items"]
    assert [(item["key"], item["val"]) for item in exported] == [("a", 1), ("b", "text")]
    assert alice.delete(f"/users/{alice.id}").status_code == 204


def test_the_document_describes_keys_values_and_both_statuses_of_put(alice: Person) -> None:
    document = alice.client.get("/openapi.json").get_json()
    put_ = document["paths"]["/api/v1/items/{key}"]["put"]
    assert {"200", "201", "412"} <= put_["responses"].keys()
    assert "Location" in put_["responses"]["201"]["headers"]
    assert "Location" not in put_["responses"]["200"]["headers"]
    assert [p["name"] for p in put_["parameters"] if p.get("in") == "header"] == ["If-None-Match"]
    schemas = document["components"]["schemas"]
    assert [choice["type"] for choice in schemas["Item"]["properties"]["val"]["oneOf"]] == ["string", "integer"]
    assert schemas["Transfer"]["required"] == ["from", "to"]
    assert document["paths"]["/api/v1/transfers"]["post"]["responses"].keys() >= {"200", "404", "409", "422"}
