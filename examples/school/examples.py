"""Requests with the statuses that the document promises, for the conformance tests."""

from __future__ import annotations

from typing import Any

from app.features import Call, Examples

COURSE = {"code": "MATH-101", "name": "Calculus", "instructor": "Emmy Noether", "credits": 5, "capacity": 2}
BUSY = {**COURSE, "code": "BIO-1", "name": "Botany"}
FULL = {**COURSE, "code": "ART-1", "name": "Drawing", "capacity": 1}
STALE = {"If-Match": '"stale"'}
UNCHANGED = {"If-None-Match": "*"}
KEY = {"Idempotency-Key": "school-1"}


def call(operation: str, status: int, request: str, by: str = "", **options: Any) -> Call:
    """Return a call, in one line."""
    return Call(operation=operation, status=status, request=request, by=by, **options)


# Carol is the administrator. Alice is enrolled in three courses, one with Bob and one that is full with her.
EXAMPLES = Examples(
    setup=(
        call("create_course", 201, "POST /courses", "carol", body=COURSE, saves={"course": "id"}),
        call("create_course", 201, "POST /courses", "carol", body=FULL, saves={"full": "id"}),
        call(
            "create_enrolment",
            201,
            "POST /courses/{course}/enrolments",
            "alice",
            saves={"enrolment": "id"},
        ),
        call("create_enrolment", 201, "POST /courses/{full}/enrolments", "alice"),
        call("create_course", 201, "POST /courses", "carol", body=BUSY, saves={"busy": "id"}),
        call("create_enrolment", 201, "POST /courses/{busy}/enrolments", "alice"),
        call("create_enrolment", 201, "POST /courses/{busy}/enrolments", "bob"),
    ),
    calls=(
        call("list_courses", 200, "GET /courses"),
        call("list_courses", 200, "GET /courses?sort=-name&page=1", "bob"),
        call("list_courses", 304, "GET /courses", headers=UNCHANGED),
        call("list_courses", 401, "GET /courses", headers={"Authorization": "Bearer rubbish"}),
        call("list_courses", 422, "GET /courses?sort=credits"),
        call("create_course", 201, "POST /courses", "carol", body={**COURSE, "code": "MATH-102"}, headers=KEY),
        call("create_course", 401, "POST /courses", body=COURSE),
        call("create_course", 403, "POST /courses", "alice", body=COURSE),
        call("create_course", 409, "POST /courses", "carol", body=COURSE),
        call("create_course", 422, "POST /courses", "carol", body={**COURSE, "code": "math", "credits": 11}),
        call("get_course", 200, "GET /courses/{course}"),
        call("get_course", 304, "GET /courses/{course}", "alice", headers=UNCHANGED),
        call("get_course", 401, "GET /courses/{course}", headers={"Authorization": "Bearer rubbish"}),
        call("get_course", 404, "GET /courses/{missing}"),
        call("replace_course", 200, "PUT /courses/{course}", "carol", body={**COURSE, "capacity": 1}),
        call("replace_course", 401, "PUT /courses/{course}", body=COURSE),
        call("replace_course", 403, "PUT /courses/{course}", "alice", body=COURSE),
        call("replace_course", 404, "PUT /courses/{missing}", "carol", body=COURSE),
        call("replace_course", 409, "PUT /courses/{course}", "carol", body=FULL),
        call("replace_course", 409, "PUT /courses/{busy}", "carol", body={**BUSY, "capacity": 1}),
        call("replace_course", 412, "PUT /courses/{course}", "carol", body=COURSE, headers=STALE),
        call("replace_course", 422, "PUT /courses/{course}", "carol", body={**COURSE, "capacity": 10_001}),
        call("update_course", 200, "PATCH /courses/{course}", "carol", body={"name": "Calculus 1"}),
        call("update_course", 401, "PATCH /courses/{course}", body={"name": "Mine"}),
        call("update_course", 403, "PATCH /courses/{course}", "bob", body={"name": "Mine"}),
        call("update_course", 404, "PATCH /courses/{missing}", "carol", body={"name": "None"}),
        call("update_course", 409, "PATCH /courses/{course}", "carol", body={"code": "ART-1"}),
        call("update_course", 409, "PATCH /courses/{busy}", "carol", body={"capacity": 1}),
        call("update_course", 412, "PATCH /courses/{course}", "carol", body={"credits": 1}, headers=STALE),
        call("update_course", 422, "PATCH /courses/{course}", "carol", body={"enrolled": 1}),
        call("delete_course", 204, "DELETE /courses/{full}", "carol"),
        call("delete_course", 401, "DELETE /courses/{course}"),
        call("delete_course", 403, "DELETE /courses/{course}", "alice"),
        call("delete_course", 404, "DELETE /courses/{missing}", "carol"),
        call("delete_course", 412, "DELETE /courses/{course}", "carol", headers=STALE),
        call("delete_course", 422, "DELETE /courses/{course}", "carol", body={"id": 1}),
        call("create_enrolment", 201, "POST /courses/{course}/enrolments", "bob", headers=KEY),
        call("create_enrolment", 401, "POST /courses/{course}/enrolments"),
        call("create_enrolment", 404, "POST /courses/{missing}/enrolments", "bob"),
        call("create_enrolment", 409, "POST /courses/{course}/enrolments", "alice"),
        call("create_enrolment", 409, "POST /courses/{full}/enrolments", "bob"),
        call("create_enrolment", 422, "POST /courses/{course}/enrolments", "bob", body={"user_id": 1}),
        call("list_enrolments", 200, "GET /courses/{busy}/enrolments", "carol"),
        call("list_enrolments", 304, "GET /courses/{course}/enrolments", "carol", headers=UNCHANGED),
        call("list_enrolments", 401, "GET /courses/{course}/enrolments"),
        call("list_enrolments", 403, "GET /courses/{course}/enrolments", "alice"),
        call("list_enrolments", 404, "GET /courses/{missing}/enrolments", "carol"),
        call("list_enrolments", 422, "GET /courses/{course}/enrolments?sort=grade", "carol"),
        call("list_enrolments_of", 200, "GET /users/{alice}/enrolments", "alice"),
        call("list_enrolments_of", 200, "GET /users/{alice}/enrolments?page=1", "carol"),
        call("list_enrolments_of", 304, "GET /users/{alice}/enrolments", "alice", headers=UNCHANGED),
        call("list_enrolments_of", 401, "GET /users/{alice}/enrolments"),
        call("list_enrolments_of", 403, "GET /users/{alice}/enrolments", "bob"),
        call("list_enrolments_of", 404, "GET /users/{missing}/enrolments", "carol"),
        call("list_enrolments_of", 422, "GET /users/{alice}/enrolments?limit=0", "alice"),
        call("get_enrolment", 200, "GET /enrolments/{enrolment}", "alice"),
        call("get_enrolment", 200, "GET /enrolments/{enrolment}", "carol"),
        call("get_enrolment", 304, "GET /enrolments/{enrolment}", "alice", headers=UNCHANGED),
        call("get_enrolment", 401, "GET /enrolments/{enrolment}"),
        call("get_enrolment", 404, "GET /enrolments/{enrolment}", "bob"),
        call("update_enrolment", 200, "PATCH /enrolments/{enrolment}", "carol", body={"grade": "A+"}),
        call("update_enrolment", 401, "PATCH /enrolments/{enrolment}", body={"grade": "A+"}),
        call("update_enrolment", 403, "PATCH /enrolments/{enrolment}", "alice", body={"grade": "A+"}),
        call("update_enrolment", 404, "PATCH /enrolments/{missing}", "carol", body={"grade": "A+"}),
        call("update_enrolment", 412, "PATCH /enrolments/{enrolment}", "carol", body={"grade": "B"}, headers=STALE),
        call("update_enrolment", 422, "PATCH /enrolments/{enrolment}", "carol", body={"grade": "A++"}),
        call("delete_enrolment", 204, "DELETE /enrolments/{enrolment}", "alice"),
        call("delete_enrolment", 401, "DELETE /enrolments/{enrolment}"),
        call("delete_enrolment", 404, "DELETE /enrolments/{enrolment}", "bob"),
        call("delete_enrolment", 412, "DELETE /enrolments/{enrolment}", "alice", headers=STALE),
        call("delete_enrolment", 422, "DELETE /enrolments/{enrolment}", "alice", body={"id": 1}),
    ),
)
