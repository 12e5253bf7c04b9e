"""The requests of the conformance tests: each operation with each status that its route declares."""

from __future__ import annotations

from app.features import Call, Examples

# Two events of Alice.
PROMOTED = Call("update_user", 200, "PATCH /users/{alice}", by="carol", body={"role": "admin"})
DEMOTED = Call("update_user", 200, "PATCH /users/{alice}", by="carol", body={"role": "user"})
TIMES = "created_after=2020-01-01T00:00:00Z&created_before=2100-01-01T00:00:00Z"

EXAMPLES = Examples(
    setup=(PROMOTED, DEMOTED),
    calls=(
        Call("list_own_events", 200, "GET /auth/events", by="alice"),
        Call(
            "list_own_events",
            200,
            f"GET /auth/events?page=1&{TIMES}",
            by="alice",
        ),
        Call("list_own_events", 304, "GET /auth/events", by="alice", headers={"If-None-Match": "*"}),
        Call("list_own_events", 401, "GET /auth/events"),
        Call("list_own_events", 422, "GET /auth/events?user_id=1", by="alice"),
        Call("list_events", 200, "GET /audit", by="carol"),
        Call(
            "list_events",
            200,
            "GET /audit?event=login_failed&user_id={alice}&actor_id={alice}&sort=created_at",
            by="carol",
        ),
        Call("list_events", 200, "GET /audit?user_id={alice}", by="carol"),
        Call("list_events", 200, "GET /audit?actor_id={alice}", by="carol"),
        Call("list_events", 200, "GET /audit?event=role_changed", by="carol"),
        Call(
            "list_events",
            200,
            f"GET /audit?{TIMES}",
            by="carol",
        ),
        Call("list_events", 304, "GET /audit", by="carol", headers={"If-None-Match": "*"}),
        Call("list_events", 401, "GET /audit"),
        Call("list_events", 403, "GET /audit", by="alice"),
        Call("list_events", 422, "GET /audit?event=nonsense&user_id=0", by="carol"),
    ),
    exceptions={
        "auth_events.user_id": "The events of an account outlive it.",
        "auth_events.actor_id": "It may be another user.",
        "auth_events.email_hash": "Of logins without an account only.",
    },
)
