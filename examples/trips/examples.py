"""Requests with the statuses that the document promises, for the conformance tests."""

from __future__ import annotations

from app.features import Call, Examples

WAYPOINTS = [
    {"name": "Cape Agulhas", "latitude": -34.83, "longitude": 20},
    {"name": "Hermanus", "latitude": -34.42, "longitude": 19.24},
]
TRIP = {"name": "Coast road", "destination": "Cape Town", "waypoints": WAYPOINTS}
STALE = {"If-Match": '"stale"'}
CURRENT = {"If-Match": "{trip_etag}"}
BAD_WAYPOINT = {**TRIP, "waypoints": [{"name": "North of the pole", "latitude": 91, "longitude": 0}]}

EXAMPLES = Examples(
    setup=(
        Call(
            operation="create_trip",
            status=201,
            request="POST /trips",
            by="alice",
            body=TRIP,
            saves={"trip": "id", "trip_etag": "ETag"},
        ),
        Call(operation="create_trip", status=201, request="POST /trips", by="alice", body={"name": "Later"}),
    ),
    calls=(
        Call(operation="list_trips", status=200, request="GET /trips", by="alice"),
        Call(operation="list_trips", status=200, request="GET /trips?sort=name&page=1", by="bob"),
        Call(operation="list_trips", status=304, request="GET /trips", by="alice", headers={"If-None-Match": "*"}),
        Call(operation="list_trips", status=401, request="GET /trips"),
        Call(operation="list_trips", status=422, request="GET /trips?sort=destination", by="alice"),
        Call(operation="list_trips_of", status=200, request="GET /users/{alice}/trips", by="alice"),
        Call(
            operation="list_trips_of",
            status=304,
            request="GET /users/{alice}/trips",
            by="alice",
            headers={"If-None-Match": "*"},
        ),
        Call(operation="list_trips_of", status=401, request="GET /users/{alice}/trips"),
        Call(operation="list_trips_of", status=404, request="GET /users/{alice}/trips", by="bob"),
        Call(operation="list_trips_of", status=404, request="GET /users/{alice}/trips", by="carol"),
        Call(operation="list_trips_of", status=422, request="GET /users/{alice}/trips?user_id=1", by="alice"),
        Call(operation="create_trip", status=201, request="POST /trips", by="alice", body=TRIP),
        Call(
            operation="create_trip",
            status=201,
            request="POST /trips",
            by="alice",
            body=TRIP,
            headers={"Idempotency-Key": "trip-1"},
        ),
        Call(operation="create_trip", status=401, request="POST /trips", body=TRIP),
        Call(operation="create_trip", status=422, request="POST /trips", by="alice", body=BAD_WAYPOINT),
        Call(operation="get_trip", status=200, request="GET /trips/{trip}", by="alice"),
        Call(
            operation="get_trip",
            status=304,
            request="GET /trips/{trip}",
            by="alice",
            headers={"If-None-Match": "{trip_etag}"},
        ),
        Call(operation="get_trip", status=401, request="GET /trips/{trip}"),
        Call(operation="get_trip", status=404, request="GET /trips/{trip}", by="carol"),
        Call(operation="replace_trip", status=200, request="PUT /trips/{trip}", by="alice", body=TRIP, headers=CURRENT),
        Call(operation="replace_trip", status=401, request="PUT /trips/{trip}", body=TRIP),
        Call(operation="replace_trip", status=404, request="PUT /trips/{trip}", by="bob", body=TRIP),
        Call(operation="replace_trip", status=412, request="PUT /trips/{trip}", by="alice", body=TRIP, headers=STALE),
        Call(operation="replace_trip", status=422, request="PUT /trips/{trip}", by="alice", body=BAD_WAYPOINT),
        Call(operation="update_trip", status=200, request="PATCH /trips/{trip}", by="alice", body={"waypoints": []}),
        Call(operation="update_trip", status=404, request="PATCH /trips/{trip}", by="bob", body={"name": "Mine"}),
        Call(operation="update_trip", status=401, request="PATCH /trips/{trip}", body={"name": "Mine"}),
        Call(operation="update_trip", status=404, request="PATCH /trips/{trip}", by="bob", body={"name": "Mine"}),
        Call(
            operation="update_trip",
            status=412,
            request="PATCH /trips/{trip}",
            by="alice",
            body={"name": "Late"},
            headers=STALE,
        ),
        Call(operation="update_trip", status=422, request="PATCH /trips/{trip}", by="alice", body={"id": 1}),
        Call(operation="delete_trip", status=204, request="DELETE /trips/{trip}", by="alice", headers=CURRENT),
        Call(operation="delete_trip", status=401, request="DELETE /trips/{trip}"),
        Call(operation="delete_trip", status=404, request="DELETE /trips/{trip}", by="carol"),
        Call(operation="delete_trip", status=412, request="DELETE /trips/{trip}", by="alice", headers=STALE),
        Call(operation="delete_trip", status=422, request="DELETE /trips/{trip}", by="alice", body={"id": 1}),
    ),
)
