"""The requests of the conformance tests: each operation with each status that its route declares."""

from __future__ import annotations

from app.features import Call, Examples

DAVE = {"email": "dave@example.com", "name": "Dave", "password": "{password}"}
LOGIN = {"email": "alice@example.com", "password": "{password}"}
PASSWORDS = {"current_password": "{password}", "new_password": "staple of a new battery"}
STALE = {"If-Match": '"stale"'}
BEARER = {"Authorization": "Bearer {refresh}"}
BAD_SCHEME = {"Authorization": "Bearer a, Bearer b"}

EXAMPLES = Examples(
    calls=(
        Call("register", 201, "POST /auth/register", body=DAVE),
        Call("register", 409, "POST /auth/register", body={**DAVE, "email": "ALICE@example.com"}),
        Call("register", 422, "POST /auth/register", body={**DAVE, "password": "short", "surprise": 1}),
        Call("log_in", 200, "POST /auth/login", body=LOGIN),
        Call("log_in", 200, "POST /auth/login", body={**LOGIN, "cookie": True}),
        Call("log_in", 401, "POST /auth/login", body={**LOGIN, "password": "wrong"}),
        Call("log_in", 422, "POST /auth/login", body={}),
        Call("refresh", 200, "POST /auth/refresh", body={"refresh_token": "{refresh}"}),
        Call("refresh", 200, "POST /auth/refresh", headers=BEARER),
        Call("refresh", 200, "POST /auth/refresh", body={"cookie": True}, headers=BEARER),
        Call("refresh", 400, "POST /auth/refresh", body={"refresh_token": "{refresh}"}, headers=BEARER),
        Call("refresh", 401, "POST /auth/refresh"),
        Call("refresh", 401, "POST /auth/refresh", by="alice"),
        Call("refresh", 422, "POST /auth/refresh", body={"refresh_token": 1}),
        Call("log_out", 204, "POST /auth/logout", by="alice"),
        Call("log_out", 204, "POST /auth/logout", body={"refresh_token": "{refresh}"}),
        Call("log_out", 400, "POST /auth/logout", headers=BEARER, body={"refresh_token": "{refresh}"}),
        Call("log_out", 401, "POST /auth/logout", body={"refresh_token": "rubbish"}),
        Call("get_me", 200, "GET /auth/me", by="alice"),
        Call("get_me", 304, "GET /auth/me", by="alice", headers={"If-None-Match": "*"}),
        Call("get_me", 400, "GET /auth/me", headers=BAD_SCHEME),
        Call("get_me", 401, "GET /auth/me"),
        Call("get_me", 406, "GET /auth/me", by="alice", headers={"Accept": "text/html"}),
        Call("list_sessions", 200, "GET /auth/sessions", by="alice"),
        Call("list_sessions", 200, "GET /auth/sessions?page=1", by="alice"),
        Call("list_sessions", 401, "GET /auth/sessions", headers={"Authorization": "Basic YTpi"}),
        Call("list_sessions", 422, "GET /auth/sessions?sort=ip", by="alice"),
        Call("end_session", 204, "DELETE /auth/sessions/{session}", by="alice"),
        Call("end_session", 404, "DELETE /auth/sessions/{session}", by="bob"),
        Call("end_session", 404, "DELETE /auth/sessions/{session}", by="carol"),
        Call("end_session", 401, "DELETE /auth/sessions/{session}"),
        Call("end_sessions", 204, "DELETE /auth/sessions?include_current=true", by="alice"),
        Call("end_sessions", 401, "DELETE /auth/sessions"),
        Call("end_sessions", 422, "DELETE /auth/sessions?include_current=yes", by="alice"),
        Call("change_password", 204, "POST /auth/password", by="alice", body=PASSWORDS),
        Call("change_password", 401, "POST /auth/password", body=PASSWORDS),
        Call(
            "change_password", 422, "POST /auth/password", by="alice", body={**PASSWORDS, "current_password": "wrong"}
        ),
        Call("reauthenticate", 200, "POST /auth/reauthenticate", by="alice", body={"password": "{password}"}),
        Call("reauthenticate", 401, "POST /auth/reauthenticate", body={"password": "{password}"}),
        Call("reauthenticate", 422, "POST /auth/reauthenticate", by="alice", body={"password": "wrong"}),
        Call("list_user_sessions", 200, "GET /users/{alice}/sessions", by="carol"),
        Call("list_user_sessions", 401, "GET /users/{alice}/sessions"),
        Call("list_user_sessions", 403, "GET /users/{alice}/sessions", by="alice"),
        Call("list_user_sessions", 404, "GET /users/{missing}/sessions", by="carol"),
        Call("end_user_sessions", 204, "DELETE /users/{alice}/sessions", by="carol"),
        Call("end_user_sessions", 401, "DELETE /users/{alice}/sessions"),
        Call("end_user_sessions", 403, "DELETE /users/{alice}/sessions", by="alice"),
        Call("end_user_sessions", 404, "DELETE /users/{missing}/sessions", by="carol"),
        Call("end_user_sessions", 403, "DELETE /users/{alice}/sessions", by="bob"),
        Call("end_user_sessions", 412, "DELETE /users/{alice}/sessions", by="carol", headers=STALE),
        Call("end_user_session", 204, "DELETE /users/{alice}/sessions/{session}", by="carol"),
        Call("end_user_session", 401, "DELETE /users/{alice}/sessions/{session}"),
        Call("end_user_session", 403, "DELETE /users/{alice}/sessions/{session}", by="bob"),
        Call("end_user_session", 404, "DELETE /users/{bob}/sessions/{session}", by="carol"),
    ),
    exceptions={
        "register": "Creates the account.",
        "log_in": "The password in the body is the credential.",
        "sessions.nonce": "A secret, which is part of the tokens.",
    },
)
