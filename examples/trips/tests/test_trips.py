"""The rules of trips: who sees them, what they contain, and what a change does."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask

from app.api.owned_rows import OrderedParts
from examples.trips.examples import TRIP, WAYPOINTS
from examples.trips.models import ORDERS, Trip, Waypoint
from gatepost.testing.cast import Person, problem
from gatepost.testing.rows import count_rows
from gatepost.testing.statements import counted

MISSING = 2**63 - 1


def new_trip(person: Person, **members: Any) -> dict[str, Any]:
    """Create a trip and return it."""
    response = person.post("/trips", json={**TRIP, **members})
    assert response.status_code == 201, response.text
    trip: dict[str, Any] = response.get_json()
    return trip


def waypoints(number: int) -> list[dict[str, Any]]:
    """Return different waypoints."""
    return [{"name": f"Stop {n}", "latitude": n / 7 - 7, "longitude": -n / 3} for n in range(number)]


def test_a_trip_is_created_with_its_waypoints(alice: Person) -> None:
    response = alice.post("/trips", json=TRIP)
    assert response.status_code == 201
    trip = response.get_json()
    assert {name: trip[name] for name in TRIP} == TRIP
    assert trip.keys() == {"id", *TRIP, "created_at", "updated_at"}
    assert trip["created_at"] == trip["updated_at"]
    read = alice.get(response.headers["Location"].removeprefix("/api/v1"))
    assert (read.get_json(), read.headers["ETag"]) == (trip, response.headers["ETag"])


def test_only_the_name_is_required(alice: Person) -> None:
    trip = alice.post("/trips", json={"name": "N"}).get_json()
    assert (trip["destination"], trip["waypoints"]) == ("", [])
    assert alice.get(f"/trips/{trip['id']}").get_json() == trip


@pytest.mark.parametrize("number", [0, 1, 100])
def test_up_to_a_hundred_waypoints_keep_their_order(alice: Person, number: int) -> None:
    places = waypoints(number)[::-1]
    trip = new_trip(alice, waypoints=places)
    assert trip["waypoints"] == places
    assert alice.get(f"/trips/{trip['id']}").get_json()["waypoints"] == places
    # The same place may be visited twice.
    assert new_trip(alice, waypoints=[WAYPOINTS[0]] * 2)["waypoints"] == [WAYPOINTS[0]] * 2


@pytest.mark.parametrize("number", [0.1, -0.0, 5e-324, 1 / 3, 12.345678901234567, -89.99999999999999, 90])
def test_coordinates_are_stored_as_sent(alice: Person, number: float) -> None:
    response = alice.post("/trips", json={**TRIP, "waypoints": [{**WAYPOINTS[0], "latitude": number}]})
    read = alice.get(f"/trips/{response.get_json()['id']}")
    assert read.get_json()["waypoints"][0]["latitude"] == number
    assert read.headers["ETag"] == response.headers["ETag"]


@pytest.mark.parametrize(
    ("members", "errors"),
    [
        ({"name": ""}, {"name": ["Must not be empty."]}),
        ({"name": "n" * 201}, {"name": ["Must have at most 200 characters."]}),
        ({"name": " "}, {"name": ["Must not be blank."]}),
        ({"destination": "d" * 201}, {"destination": ["Must have at most 200 characters."]}),
        ({"destination": None}, {"destination": ["Field may not be null."]}),
        ({"waypoints": waypoints(101)}, {"waypoints": ["Must have at most 100 items."]}),
        ({"waypoints": {}}, {"waypoints": ["Must be a list."]}),
        ({"id": 1, "user_id": 2}, {"id": ["Unknown field."], "user_id": ["Unknown field."]}),
        (
            {"waypoints": [*WAYPOINTS, {"name": "x", "latitude": "1", "longitude": 180.5, "position": 0}, {}]},
            {
                "waypoints": {
                    "2": {
                        "latitude": ["Must be a number."],
                        "longitude": ["Must be -180 to 180."],
                        "position": ["Unknown field."],
                    },
                    "3": {key: ["Missing data for required field."] for key in WAYPOINTS[0]},
                }
            },
        ),
    ],
)
def test_an_invalid_trip_changes_nothing(
    app: Flask, alice: Person, members: dict[str, Any], errors: dict[str, Any]
) -> None:
    trip = new_trip(alice)
    path = f"/trips/{trip['id']}"
    attempts = (
        alice.post("/trips", json={**TRIP, **members}),
        alice.put(path, json={**TRIP, **members}),
        alice.patch(path, json=members),
    )
    for response in attempts:
        assert problem(response) == (422, "validation_error")
        assert response.get_json()["errors"] == errors
    assert alice.get(path).get_json() == trip
    assert count_rows(app, Trip) == 1
    assert count_rows(app, Waypoint) == len(WAYPOINTS)


def test_only_the_owner_knows_of_a_trip(app: Flask, alice: Person, bob: Person, carol: Person) -> None:
    trip = new_trip(alice)
    path = f"/trips/{trip['id']}"
    for person in (bob, carol):
        attempts = (
            person.get(path),
            person.put(path, json=TRIP),
            person.patch(path, json={"name": "Mine"}),
            person.delete(path),
            person.delete(path, headers={"If-Match": '"stale"'}),
            person.get(f"/users/{alice.id}/trips"),
        )
        assert {problem(response) for response in attempts} == {(404, "not_found")}
        assert person.get("/trips").get_json()["items"] == []
        assert person.get(f"/users/{MISSING}/trips").status_code == 404
    assert alice.get(path).get_json() == trip


def test_a_trip_is_replaced(alice: Person) -> None:
    trip = new_trip(alice)
    path = f"/trips/{trip['id']}"
    replaced = alice.put(path, json={"name": "Other", "waypoints": waypoints(3)}).get_json()
    assert replaced == {
        **trip,
        "name": "Other",
        "destination": "",
        "waypoints": waypoints(3),
        "updated_at": replaced["updated_at"],
    }
    assert replaced["updated_at"] > trip["updated_at"]
    assert alice.get(path).get_json() == replaced
    assert problem(alice.put(path, json={"waypoints": []})) == (422, "validation_error")


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "Other"},
        {"destination": ""},
        {"waypoints": []},
        {"waypoints": WAYPOINTS[::-1]},
        {"waypoints": [*WAYPOINTS, WAYPOINTS[0]]},
        {"waypoints": [WAYPOINTS[0], {**WAYPOINTS[1], "longitude": 19.25}]},
        {"name": "Other", "waypoints": waypoints(100)},
    ],
)
def test_a_patch_changes_the_given_members(alice: Person, changes: dict[str, Any]) -> None:
    trip = new_trip(alice)
    path = f"/trips/{trip['id']}"
    response = alice.patch(path, json=changes)
    changed = response.get_json()
    assert changed == {**trip, **changes, "updated_at": changed["updated_at"]}
    assert changed["updated_at"] > trip["updated_at"]
    read = alice.get(path)
    assert (read.get_json(), read.headers["ETag"]) == (changed, response.headers["ETag"])


@pytest.mark.parametrize("changes", [{}, {"name": TRIP["name"]}, {"waypoints": WAYPOINTS}, TRIP])
def test_a_change_to_the_same_values_is_none(alice: Person, changes: dict[str, Any]) -> None:
    trip = new_trip(alice)
    path = f"/trips/{trip['id']}"
    assert alice.patch(path, json=changes).get_json() == trip
    assert alice.put(path, json=TRIP).get_json() == trip


def test_a_stale_tag_refuses_every_change(alice: Person) -> None:
    response = alice.post("/trips", json=TRIP)
    path, stale = f"/trips/{response.get_json()['id']}", {"If-Match": response.headers["ETag"]}
    # The tag is that of the waypoints too.
    current = alice.patch(path, json={"waypoints": waypoints(1)}, headers=stale)
    assert current.status_code == 200
    for method, body in (("PUT", TRIP), ("PATCH", {"name": "Late"}), ("DELETE", None)):
        options = {} if body is None else {"json": body}
        assert problem(alice.call(method, path, headers=stale, **options)) == (412, "precondition_failed")
    assert alice.get(path).get_json() == current.get_json()
    assert alice.delete(path, headers={"If-Match": current.headers["ETag"]}).status_code == 204


def test_a_trip_is_deleted_with_its_waypoints(app: Flask, alice: Person) -> None:
    path = f"/trips/{new_trip(alice)['id']}"
    other = new_trip(alice)
    assert alice.delete(path).status_code == 204
    assert problem(alice.get(path)) == (404, "not_found")
    assert problem(alice.delete(path)) == (404, "not_found")
    assert count_rows(app, Waypoint) == count_rows(app, Waypoint, trip_id=other["id"]) == 2


def test_the_list_has_whole_trips_in_each_order(alice: Person, bob: Person) -> None:
    made = [new_trip(alice, name=name, waypoints=waypoints(number)) for number, name in enumerate("bca")]
    new_trip(bob)
    alice.patch(f"/trips/{made[0]['id']}", json={"destination": "changed last"})
    made = [alice.get(f"/trips/{trip['id']}").get_json() for trip in made]
    assert alice.get("/trips").get_json()["items"] == made[::-1]
    for path in ("/trips", f"/users/{alice.id}/trips"):
        for key in ORDERS:
            expected = sorted(made, key=lambda trip: str(trip[key]))
            assert alice.get(f"{path}?sort={key}").get_json()["items"] == expected
            assert alice.get(f"{path}?sort=-{key}&page=1").get_json()["items"] == expected[::-1]


def test_the_number_of_statements_does_not_depend_on_the_number_of_trips(app: Flask, alice: Person) -> None:
    numbers = set()
    for _ in range(2):
        new_trip(alice)
        new_trip(alice)
        with counted(app) as statements:
            assert alice.get("/trips").status_code == 200
        numbers.add(len([text for text in statements if text.startswith("SELECT")]))
    # One for the caller, one for the trips, and one for their waypoints.
    assert numbers == {3}


def test_trips_are_exported_and_deleted_with_their_user(app: Flask, alice: Person, bob: Person) -> None:
    # More than one batch.
    made = [new_trip(alice, name=f"Trip {number}") for number in range(3)]
    new_trip(bob)
    assert alice.get(f"/users/{alice.id}/export").get_json()["trips"] == made
    assert alice.delete(f"/users/{alice.id}").status_code == 204
    assert count_rows(app, Trip) == 1
    assert count_rows(app, Waypoint) == 2


def test_a_large_export_has_every_trip(alice: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [new_trip(alice, waypoints=waypoints(1))["id"] for _ in range(205)]
    exported = alice.get(f"/users/{alice.id}/export").get_json()["trips"]
    assert [trip["id"] for trip in exported] == made
    assert {len(trip["waypoints"]) for trip in exported} == {1}


def test_a_repeated_key_makes_one_trip(app: Flask, alice: Person) -> None:
    headers = {"Idempotency-Key": "one"}
    first, again = (alice.post("/trips", json=TRIP, headers=headers) for _ in range(2))
    assert first.data == again.data
    assert again.headers["Idempotency-Replayed"] == "true"
    assert problem(alice.post("/trips", json={**TRIP, "waypoints": []}, headers=headers))[1] == "idempotency_key_reused"
    assert count_rows(app, Trip) == 1


def test_items_with_different_members_are_stored_alike() -> None:
    complete = OrderedParts(Waypoint, "trip_id").complete([{"name": "Here"}, {"name": "There", "latitude": 1.0}])
    assert complete == [
        {"name": "Here", "latitude": None, "longitude": None},
        {"name": "There", "latitude": 1.0, "longitude": None},
    ]
