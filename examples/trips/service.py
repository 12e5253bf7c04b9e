"""The rules of trips: all are the ordinary ones of rows that belong to a user."""

from __future__ import annotations

from app.api.owned_rows import OrderedParts, OwnedRows
from examples.trips.models import ORDERS, Trip, Waypoint
from examples.trips.schemas import TRIP

# Lists, reads and changes the trips of one user; for all others, administrators included, they do not exist. A trip is
# read and written together with its waypoints, so that no response mixes two versions of it.
trips = OwnedRows(Trip, TRIP, orders=ORDERS, parts={"waypoints": OrderedParts(Waypoint, "trip_id")})
