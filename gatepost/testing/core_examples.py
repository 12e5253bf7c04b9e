"""The requests of the conformance tests: each operation with each status that its route declares."""

from __future__ import annotations

from app.features import Call, Examples

# One idempotency key of Alice.
POST = {"title": "Hello", "content": "My first post."}
KEPT = Call("create_post", 201, "POST /posts", by="alice", body=POST, headers={"Idempotency-Key": "key-1"})

EXAMPLES = Examples(
    setup=(KEPT,),
    calls=(
        Call("get_health", 200, "GET /health"),
        Call("get_health", 422, "GET /health?surprise=1"),
        Call("get_health", 400, "GET /health?a=%FF"),
        Call("get_readiness", 200, "GET /health/ready"),
        Call("get_metrics", 200, "GET /metrics"),
        Call("get_metrics", 422, "GET /metrics?surprise=1"),
        Call("get_openapi", 200, "GET /openapi.json"),
        Call("get_openapi", 422, "GET /openapi.json?surprise=1"),
        Call("get_key_set", 200, "GET /.well-known/jwks.json"),
        Call("get_key_set", 422, "GET /.well-known/jwks.json?surprise=1"),
        Call("get_service", 200, "GET /"),
        Call("get_service", 200, "GET /", headers={"Accept": "text/html"}),
        Call("get_service", 422, "GET /?surprise=1"),
        Call("get_problems", 200, "GET /problems"),
        Call("get_problems", 200, "GET /problems", headers={"Accept": "text/html"}),
        Call("get_problems", 422, "GET /problems?surprise=1"),
        Call("get_problem", 200, "GET /problems/validation-error"),
        Call("get_problem", 200, "GET /problems/not-found", headers={"Accept": "application/json"}),
        Call("get_problem", 404, "GET /problems/no-such-problem"),
        Call("get_docs", 200, "GET /docs"),
        Call("get_docs", 422, "GET /docs?surprise=1"),
        Call("get_docs_file", 200, "GET /docs/page.js"),
        Call("get_docs_file", 200, "GET /docs/swagger-ui.css"),
        Call("get_docs_file", 404, "GET /docs/nothing"),
        Call("get_docs_file", 422, "GET /docs/page.js?surprise=1"),
    ),
    exceptions={
        "idempotency_keys.fingerprint": "A hash of the request with a secret.",
        "idempotency_keys.body": "It shows rows that are exported themselves.",
        "idempotency_keys.etag": "A hash of the body.",
    },
)
