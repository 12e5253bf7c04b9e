"""The requests of the conformance tests: each operation with each status that its route declares."""

from __future__ import annotations

from app.features import Call, Examples

POST = {"title": "Hello", "content": "My first post."}
STALE = {"If-Match": '"stale"'}
KEY = {"Idempotency-Key": "key-1"}

SINCE, UNTIL = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
CREATED = f"created_after={SINCE}&created_before={UNTIL}"
UPDATED = f"updated_after={SINCE}&updated_before={UNTIL}"
PUBLISHED = f"published_after={SINCE}&published_before={UNTIL}"
DRAFT = {**POST, "status": "draft"}

EXAMPLES = Examples(
    setup=(
        Call("create_post", 201, "POST /posts", by="alice", body=POST, saves={"post": "id", "etag": "ETag"}),
        Call("create_post", 201, "POST /posts", by="alice", body={"title": "Again", "content": "My second post."}),
        Call("create_post", 201, "POST /posts", by="alice", body=DRAFT, saves={"draft": "id"}),
        Call("create_post", 201, "POST /posts", by="alice", body={**DRAFT, "title": "Later"}),
    ),
    calls=(
        Call("list_posts", 200, "GET /posts"),
        Call("list_posts", 200, "GET /posts?status=draft&page=1", by="alice"),
        Call("list_posts", 200, "GET /posts?author_id={alice}"),
        Call("list_posts", 200, f"GET /posts?{CREATED}"),
        Call("list_posts", 200, f"GET /posts?status=draft&{UPDATED}", by="alice"),
        Call("list_posts", 200, f"GET /posts?{CREATED}&{PUBLISHED}&author_id={{alice}}"),
        Call("list_posts", 304, "GET /posts", headers={"If-None-Match": "*"}),
        Call("list_posts", 401, "GET /posts?status=draft"),
        Call("list_posts", 422, "GET /posts?created_after=yesterday&author_id=0"),
        Call("create_post", 201, "POST /posts", by="alice", body=POST, headers=KEY),
        Call("create_post", 401, "POST /posts", body=POST),
        Call("create_post", 422, "POST /posts", by="alice", body={"title": " "}),
        Call("create_post", 422, "POST /posts", by="alice", body=POST, headers={"Idempotency-Key": "a key"}),
        Call("get_post", 200, "GET /posts/{post}"),
        Call("get_post", 200, "GET /posts/{draft}", by="alice"),
        Call("get_post", 304, "GET /posts/{post}", headers={"If-None-Match": "{etag}"}),
        Call("get_post", 404, "GET /posts/{draft}"),
        Call("replace_post", 200, "PUT /posts/{post}", by="alice", body=POST, headers={"If-Match": "{etag}"}),
        Call("replace_post", 200, "PUT /posts/{post}", by="carol", body=POST),
        Call("replace_post", 401, "PUT /posts/{post}", body=POST),
        Call("replace_post", 403, "PUT /posts/{post}", by="bob", body=POST),
        Call("replace_post", 404, "PUT /posts/{draft}", by="bob", body=POST),
        Call("replace_post", 412, "PUT /posts/{post}", by="alice", body=POST, headers=STALE),
        Call("replace_post", 422, "PUT /posts/{post}", by="alice", body={"title": "Alone"}),
        Call("update_post", 200, "PATCH /posts/{post}", by="carol", body={"status": "draft"}),
        Call("update_post", 401, "PATCH /posts/{post}", body={"title": "Mine"}),
        Call("update_post", 403, "PATCH /posts/{post}", by="bob", body={"title": "Mine"}),
        Call("update_post", 404, "PATCH /posts/{missing}", by="bob", body={"title": "Mine"}),
        Call("update_post", 422, "PATCH /posts/{post}", by="alice", body={"id": 1}),
        Call("delete_post", 204, "DELETE /posts/{post}", by="alice"),
        Call("delete_post", 204, "DELETE /posts/{post}", by="carol"),
        Call("delete_post", 401, "DELETE /posts/{post}"),
        Call("delete_post", 403, "DELETE /posts/{post}", by="bob"),
        Call("delete_post", 404, "DELETE /posts/{missing}", by="alice"),
        Call("delete_post", 422, "DELETE /posts/{post}", by="alice", body={"surprise": 1}),
        Call("list_posts_of", 200, "GET /users/{alice}/posts"),
        Call("list_posts_of", 200, "GET /users/{alice}/posts?page=1", by="alice"),
        Call("list_posts_of", 200, "GET /users/{alice}/posts?status=draft", by="alice"),
        Call("list_posts_of", 200, f"GET /users/{{alice}}/posts?status=published&{PUBLISHED}", by="alice"),
        Call("list_posts_of", 200, f"GET /users/{{alice}}/posts?{CREATED}&{UPDATED}"),
        Call("list_posts_of", 401, "GET /users/{alice}/posts?status=draft"),
        Call("list_posts_of", 403, "GET /users/{alice}/posts?status=draft", by="bob"),
        Call("list_posts_of", 404, "GET /users/{missing}/posts"),
        Call("list_posts_of", 422, "GET /users/{alice}/posts?page=501"),
    ),
)
