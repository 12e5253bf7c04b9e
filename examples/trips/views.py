"""The HTTP routes of trips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import url_for

from app.api.access import SIGNED_IN, Caller
from app.api.errors import NotFound, PreconditionFailed
from app.api.pagination import Page
from app.api.responses import Created, created, listing, no_content, ok
from app.api.routing import Api
from examples.trips import service
from examples.trips.schemas import TRIP, NewTrip, TripChanges, TripQuery

trips = Api("trips", __name__)
REFUSALS = (NotFound, PreconditionFailed)


@trips.operation("GET", "/trips", access=SIGNED_IN, query=TripQuery(), answer=listing(TRIP))
def list_trips(caller: Caller, query: Mapping[str, Any]) -> Page:
    """List your trips."""
    return service.trips.page(caller.id, query)


@trips.operation(
    "GET",
    "/users/<id:user_id>/trips",
    access=SIGNED_IN,
    query=TripQuery(),
    answer=listing(TRIP),
    problems=(NotFound,),
)
def list_trips_of(caller: Caller, user_id: int, query: Mapping[str, Any]) -> Page:
    """List the trips of a user. Only the user can."""
    if caller.id != user_id:
        raise NotFound
    return service.trips.page(user_id, query)


@trips.operation("POST", "/trips", access=SIGNED_IN, body=NewTrip(), answer=created(TRIP), idempotent=True)
def create_trip(caller: Caller, body: Mapping[str, Any]) -> Created:
    """Create a trip with its waypoints."""
    trip = service.trips.create(caller.id, body)
    return Created(trip, url_for("trips.get_trip", trip_id=trip.id))


@trips.operation("GET", "/trips/<id:trip_id>", access=SIGNED_IN, answer=ok(TRIP), problems=(NotFound,))
def get_trip(caller: Caller, trip_id: int) -> Any:
    """Read a trip."""
    return service.trips.get(caller.id, trip_id)


@trips.operation("PUT", "/trips/<id:trip_id>", access=SIGNED_IN, body=NewTrip(), answer=ok(TRIP), problems=REFUSALS)
def replace_trip(caller: Caller, trip_id: int, body: Mapping[str, Any]) -> Any:
    """Replace a trip with its waypoints."""
    return service.trips.update(caller.id, trip_id, body)


@trips.operation(
    "PATCH", "/trips/<id:trip_id>", access=SIGNED_IN, body=TripChanges(), answer=ok(TRIP), problems=REFUSALS
)
def update_trip(caller: Caller, trip_id: int, body: Mapping[str, Any]) -> Any:
    """Change the given members of a trip. `waypoints` replaces all of them."""
    return service.trips.update(caller.id, trip_id, body)


@trips.operation("DELETE", "/trips/<id:trip_id>", access=SIGNED_IN, answer=no_content(), problems=REFUSALS)
def delete_trip(caller: Caller, trip_id: int) -> None:
    """Delete a trip with its waypoints."""
    service.trips.delete(caller.id, trip_id)
