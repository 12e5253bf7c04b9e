"""Requests with the statuses that the document promises, for the conformance tests."""

from __future__ import annotations

from app.features import Call, Examples

STALE = {"If-Match": '"stale"'}
CURRENT = {"If-Match": "{tag}"}
UNCHANGED = {"If-None-Match": "{tag}"}
TRANSFER = {"from": "savings", "to": "spending", "amount": 10}
KEYED = {"Idempotency-Key": "example-1"}

EXAMPLES = Examples(
    exceptions={"items.id": "an item is known by its key"},
    setup=(
        Call(
            operation="create_item",
            status=201,
            request="POST /items",
            by="alice",
            body={"key": "savings", "val": 100},
            saves={"tag": "ETag"},
        ),
        Call(operation="put_item", status=201, request="PUT /items/spending", by="alice", body={"val": 0}),
        Call(
            operation="put_item",
            status=201,
            request="PUT /items/shops%2Fnearest",
            by="alice",
            body={"val": "At the corner"},
        ),
        Call(operation="put_item", status=201, request="PUT /items/full", by="alice", body={"val": 2**53}),
    ),
    calls=(
        Call(operation="list_items", status=200, request="GET /items", by="alice"),
        Call(operation="list_items", status=200, request="GET /items?sort=-updated_at&page=1", by="bob"),
        Call(operation="list_items", status=304, request="GET /items", by="alice", headers={"If-None-Match": "*"}),
        Call(operation="list_items", status=401, request="GET /items"),
        Call(operation="list_items", status=422, request="GET /items?sort=val", by="alice"),
        Call(operation="create_item", status=201, request="POST /items", by="alice", body={"key": "colour"}),
        Call(
            operation="create_item",
            status=201,
            request="POST /items",
            by="bob",
            body={"key": "savings", "val": "none"},
            headers=KEYED,
        ),
        Call(operation="create_item", status=401, request="POST /items", body={"key": "colour"}),
        Call(operation="create_item", status=409, request="POST /items", by="alice", body={"key": "savings"}),
        Call(
            operation="create_item", status=422, request="POST /items", by="alice", body={"key": "colour", "val": 1.5}
        ),
        Call(operation="get_item", status=200, request="GET /items/savings", by="alice"),
        Call(operation="get_item", status=200, request="GET /items/shops%2Fnearest", by="alice"),
        Call(operation="get_item", status=304, request="GET /items/savings", by="alice", headers=UNCHANGED),
        Call(operation="get_item", status=401, request="GET /items/savings"),
        Call(operation="get_item", status=404, request="GET /items/savings", by="bob"),
        Call(
            operation="put_item",
            status=200,
            request="PUT /items/savings",
            by="alice",
            body={"val": "a text"},
            headers=CURRENT,
        ),
        Call(
            operation="put_item",
            status=201,
            request="PUT /items/colour",
            by="alice",
            body={"val": "red"},
            headers={"If-None-Match": "*"},
        ),
        Call(operation="put_item", status=201, request="PUT /items/savings", by="bob", body={"val": 1}),
        Call(operation="put_item", status=401, request="PUT /items/savings", body={"val": 1}),
        Call(
            operation="put_item", status=412, request="PUT /items/savings", by="alice", body={"val": 1}, headers=STALE
        ),
        Call(
            operation="put_item",
            status=412,
            request="PUT /items/savings",
            by="alice",
            body={"val": 1},
            headers={"If-None-Match": "*"},
        ),
        Call(operation="put_item", status=422, request="PUT /items/savings", by="alice", body={"val": None}),
        Call(operation="put_item", status=422, request="PUT /items/a%2F..%2Fb", by="alice", body={"val": 1}),
        Call(operation="put_item", status=404, request="PUT /items/%00", by="alice", body={"val": 1}),
        Call(operation="delete_item", status=204, request="DELETE /items/savings", by="alice", headers=CURRENT),
        Call(operation="delete_item", status=401, request="DELETE /items/savings"),
        Call(operation="delete_item", status=404, request="DELETE /items/savings", by="carol"),
        Call(operation="delete_item", status=412, request="DELETE /items/savings", by="alice", headers=STALE),
        Call(operation="delete_item", status=422, request="DELETE /items/savings?now=true", by="alice"),
        Call(operation="create_transfer", status=200, request="POST /transfers", by="alice", body=TRANSFER),
        Call(
            operation="create_transfer", status=200, request="POST /transfers", by="alice", body=TRANSFER, headers=KEYED
        ),
        Call(operation="create_transfer", status=401, request="POST /transfers", body=TRANSFER),
        Call(operation="create_transfer", status=404, request="POST /transfers", by="bob", body=TRANSFER),
        Call(
            operation="create_transfer",
            status=409,
            request="POST /transfers",
            by="alice",
            body={**TRANSFER, "amount": 101},
        ),
        Call(
            operation="create_transfer",
            status=409,
            request="POST /transfers",
            by="alice",
            body={**TRANSFER, "to": "full"},
        ),
        Call(
            operation="create_transfer",
            status=422,
            request="POST /transfers",
            by="alice",
            body={**TRANSFER, "to": "shops/nearest"},
        ),
    ),
)
