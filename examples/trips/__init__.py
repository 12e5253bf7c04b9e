"""The feature of trips: journeys of a user, each with an ordered list of waypoints."""

from __future__ import annotations

from pathlib import Path

from app.features import Feature
from examples.trips import service
from examples.trips.examples import EXAMPLES
from examples.trips.models import Trip, Waypoint
from examples.trips.views import trips

feature = Feature(
    name="trips",
    api=(trips,),
    tables=(Trip, Waypoint),
    migrations=Path(__file__).parent / "migrations",
    exports={"trips": service.trips.export},
    examples=EXAMPLES,
)
