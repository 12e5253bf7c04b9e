"""What clients send, and what they get."""

from __future__ import annotations

from marshmallow import Schema, fields

from app.api.fields import Identifier, InputSchema, Items, Number, OutputSchema, Timestamp, Title, changes_of
from app.api.pagination import ListQuery, sort_field
from examples.trips.models import MAX_WAYPOINTS, ORDERS, TEXT_LENGTH

NAME = {"example": "Coast road"}
DESTINATION = {"example": "Cape Town"}
LATITUDE = {"description": "In degrees, north of the equator.", "example": -34.83}
LONGITUDE = {"description": "In degrees, east of Greenwich.", "example": 20.0}


class WaypointSchema(InputSchema):
    """A waypoint of a trip, in requests and in responses."""

    name = Title(1, TEXT_LENGTH, required=True, metadata={"example": "Cape Agulhas"})
    latitude = Number(-90, 90, required=True, metadata=LATITUDE)
    longitude = Number(-180, 180, required=True, metadata=LONGITUDE)


class NewTrip(InputSchema):
    """A complete trip, for POST and PUT."""

    name = Title(1, TEXT_LENGTH, required=True, metadata=NAME)
    destination = Title(0, TEXT_LENGTH, load_default="", metadata=DESTINATION)
    waypoints = Items(WaypointSchema, 0, MAX_WAYPOINTS, load_default=())


TripChanges = changes_of(NewTrip)


class TripQuery(ListQuery):
    """The query parameters of the lists of trips."""

    sort = sort_field(*ORDERS, default="-created_at")


class TripView(OutputSchema):
    """A trip with its waypoints in order."""

    id = Identifier()
    name = fields.String(metadata=NAME)
    destination = fields.String(metadata=DESTINATION)
    waypoints = Items(WaypointSchema, 0, MAX_WAYPOINTS)
    created_at = Timestamp()
    updated_at = Timestamp()


TRIP: Schema = TripView()
