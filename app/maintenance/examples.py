"""The requests of the conformance tests: each operation with each status that its route declares."""

from __future__ import annotations

from app.features import Call, Examples

CONTEXT = {"maintenance": False, "message": "Back at noon.", "retry_after": 600}
STALE = {"If-Match": '"stale"'}

EXAMPLES = Examples(
    calls=(
        Call("get_context", 200, "GET /service-context", by="carol"),
        Call("get_context", 304, "GET /service-context", by="carol", headers={"If-None-Match": "*"}),
        Call("get_context", 401, "GET /service-context"),
        Call("get_context", 403, "GET /service-context", by="alice"),
        Call("update_context", 200, "PATCH /service-context", by="carol", body=CONTEXT),
        Call("update_context", 401, "PATCH /service-context", body=CONTEXT),
        Call("update_context", 403, "PATCH /service-context", by="alice", body=CONTEXT),
        Call("update_context", 412, "PATCH /service-context", by="carol", body=CONTEXT, headers=STALE),
        Call("update_context", 422, "PATCH /service-context", by="carol", body={"maintenance": "on"}),
    ),
)
