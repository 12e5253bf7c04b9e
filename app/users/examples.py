"""The requests of the conformance tests: each operation with each status that its route declares."""

from __future__ import annotations

from app.features import Call, Examples

DAVE = {"email": "dave@example.com", "name": "Dave", "password": "{password}"}
PROFILE = {"name": "Alicia", "bio": "Now with a bio."}
STALE = {"If-Match": '"stale"'}
KEY = {"Idempotency-Key": "key-1"}

EXAMPLES = Examples(
    calls=(
        Call("list_users", 200, "GET /users", by="alice"),
        Call("list_users", 200, "GET /users?limit=1&sort=-name", by="carol"),
        Call("list_users", 200, "GET /users?q=a", by="bob"),
        Call("list_users", 200, "GET /users?q=example", by="carol"),
        Call("list_users", 304, "GET /users", by="alice", headers={"If-None-Match": "*"}),
        Call("list_users", 401, "GET /users"),
        Call("list_users", 422, "GET /users?limit=0&cursor=x", by="alice"),
        Call("create_user", 201, "POST /users", by="carol", body=DAVE, headers=KEY),
        Call("create_user", 401, "POST /users", body=DAVE),
        Call("create_user", 403, "POST /users", by="alice", body=DAVE),
        Call("create_user", 409, "POST /users", by="carol", body={**DAVE, "email": "bob@example.com"}),
        Call("create_user", 422, "POST /users", by="carol", body={**DAVE, "role": "owner"}),
        Call("get_user", 200, "GET /users/{alice}"),
        Call("get_user", 200, "GET /users/{alice}", by="alice"),
        Call("get_user", 304, "GET /users/{alice}", headers={"If-None-Match": "*"}),
        Call("get_user", 401, "GET /users/{alice}", headers={"Authorization": "Bearer rubbish"}),
        Call("get_user", 404, "GET /users/{missing}"),
        Call("replace_user", 200, "PUT /users/{alice}", by="alice", body=PROFILE),
        Call("replace_user", 401, "PUT /users/{alice}", body=PROFILE),
        Call("replace_user", 403, "PUT /users/{alice}", by="bob", body=PROFILE),
        Call("replace_user", 404, "PUT /users/{missing}", by="carol", body=PROFILE),
        Call("replace_user", 412, "PUT /users/{alice}", by="alice", body=PROFILE, headers=STALE),
        Call("replace_user", 422, "PUT /users/{alice}", by="alice", body={}),
        Call("update_user", 200, "PATCH /users/{bob}", by="carol", body={"is_active": False}),
        Call("replace_user", 409, "PUT /users/{carol}", by="carol", body={**PROFILE, "role": "user"}),
        Call("update_user", 404, "PATCH /users/{missing}", by="carol", body=PROFILE),
        Call("update_user", 401, "PATCH /users/{alice}", body=PROFILE),
        Call("update_user", 403, "PATCH /users/{alice}", by="alice", body={"role": "admin"}),
        Call("update_user", 403, "PATCH /users/{alice}", by="bob", body={"bio": "Mine"}),
        Call("update_user", 409, "PATCH /users/{carol}", by="carol", body={"role": "user"}),
        Call("update_user", 422, "PATCH /users/{alice}", by="alice", body={"name": "\x00"}),
        Call("delete_user", 204, "DELETE /users/{alice}", by="alice"),
        Call("delete_user", 401, "DELETE /users/{alice}"),
        Call("delete_user", 403, "DELETE /users/{alice}", by="bob"),
        Call("delete_user", 404, "DELETE /users/{missing}", by="carol"),
        Call("delete_user", 409, "DELETE /users/{carol}", by="carol"),
        Call("delete_user", 412, "DELETE /users/{alice}", by="alice", headers=STALE),
        Call("export_user", 200, "GET /users/{alice}/export", by="alice"),
        Call("export_user", 401, "GET /users/{alice}/export"),
        Call("export_user", 403, "GET /users/{alice}/export", by="carol"),
    ),
    exceptions={
        "users.password_hash": "A secret.",
        "users.email_key": "Derived from the address.",
        "users.name_key": "Derived from the name.",
        "users.deleted_at": "Set only while the account is being deleted, when it cannot be exported.",
    },
)
