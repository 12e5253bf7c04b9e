"""The requests of the conformance tests."""

from __future__ import annotations

from app.features import Call, Examples

THING = {"name": "Anchor", "remark": "Heavy."}
CREATE = Call("create_thing", 201, "POST /things", by="alice", body=THING, saves={"thing": "id"})

EXAMPLES = Examples(
    setup=(CREATE, CREATE),
    calls=(
        Call("list_things", 200, "GET /things", by="alice"),
        CREATE,
        Call("get_thing", 200, "GET /things/{thing}", by="alice"),
        Call("get_thing", 404, "GET /things/{thing}", by="bob"),
        Call("replace_thing", 200, "PUT /things/{thing}", by="alice", body=THING),
        Call("replace_thing", 404, "PUT /things/{thing}", by="bob", body=THING),
        Call("delete_thing", 204, "DELETE /things/{thing}", by="alice"),
        Call("delete_thing", 404, "DELETE /things/{missing}", by="alice"),
    ),
)
