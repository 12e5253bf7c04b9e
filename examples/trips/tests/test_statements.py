"""The path from a view of trips to the driver."""

from __future__ import annotations

import pytest
from flask import Flask

from examples.trips.examples import TRIP
from gatepost.testing.cast import Person
from tests.database.test_call_depth import MAX_FRAMES, recorded_stacks


@pytest.mark.parametrize(
    ("view", "method", "path"),
    [
        ("list_trips", "GET", "/trips"),
        ("list_trips", "GET", "/trips?page=1"),
        ("create_trip", "POST", "/trips"),
        ("get_trip", "GET", "/trips/{}"),
        ("replace_trip", "PUT", "/trips/{}"),
        ("delete_trip", "DELETE", "/trips/{}"),
    ],
)
def test_at_most_five_frames_lead_from_the_view_to_the_driver(
    app: Flask, alice: Person, view: str, method: str, path: str
) -> None:
    trip_id = alice.post("/trips", json=TRIP).get_json()["id"]
    options = {"json": {**TRIP, "name": "Other", "waypoints": []}} if method in ("POST", "PUT") else {}
    with recorded_stacks(view) as stacks:
        assert alice.call(method, path.format(trip_id), **options).status_code < 300
    assert len(stacks) >= 2 + (method == "DELETE")
    # The view itself is not below app/.
    assert [stack for stack in stacks if len(stack) >= MAX_FRAMES] == []
