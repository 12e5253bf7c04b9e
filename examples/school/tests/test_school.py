"""The rules of courses and enrolments."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from app.components import utc_now
from app.database import db
from app.users.models import User
from examples.school.examples import COURSE
from examples.school.models import COURSE_ORDERS, Course, Enrolment
from gatepost.testing.cast import API, Cast, Person, problem
from gatepost.testing.rows import count_rows, delete_user_row
from gatepost.testing.statements import counted


def new_course(carol: Person, **members: Any) -> dict[str, Any]:
    """Create a course and return it."""
    response = carol.post("/courses", json={**COURSE, **members})
    assert response.status_code == 201, response.text
    course: dict[str, Any] = response.get_json()
    return course


def enrol(person: Person, course: dict[str, Any]) -> dict[str, Any]:
    """Enrol a user in a course and return the enrolment."""
    response = person.post(f"/courses/{course['id']}/enrolments")
    assert response.status_code == 201, response.text
    enrolment: dict[str, Any] = response.get_json()
    return enrolment


def test_anyone_reads_a_course_that_an_administrator_created(client: FlaskClient, carol: Person) -> None:
    response = carol.post("/courses", json=COURSE)
    course = response.get_json()
    assert course == {
        **COURSE,
        "id": course["id"],
        "enrolled": 0,
        "created_at": course["created_at"],
        "updated_at": course["created_at"],
    }
    read = client.get(response.headers["Location"])
    assert (read.get_json(), read.headers["ETag"]) == (course, response.headers["ETag"])
    assert client.get(f"{API}/courses").get_json()["items"] == [course]
    assert new_course(carol, code="A", name="No instructor", instructor="")["instructor"] == ""


def test_only_administrators_write_courses(client: FlaskClient, alice: Person, carol: Person) -> None:
    course = new_course(carol)
    path = f"/courses/{course['id']}"
    for method, target, body in (
        ("POST", "/courses", COURSE),
        ("PUT", path, COURSE),
        ("PATCH", path, {"name": "Mine"}),
        ("DELETE", path, None),
    ):
        options: dict[str, Any] = {} if body is None else {"json": body}
        assert problem(alice.call(method, target, **options)) == (403, "forbidden")
        assert problem(client.open(API + target, method=method, **options)) == (401, "authentication_required")
    assert client.get(API + path).get_json() == course


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"code": "math"}, "Must consist of A-Z, 0-9 and hyphens."),
        ({"code": "MATH 1"}, "Must consist of A-Z, 0-9 and hyphens."),
        ({"code": "MATH_1"}, "Must consist of A-Z, 0-9 and hyphens."),
        ({"code": "ÄRZTE"}, "Must consist of A-Z, 0-9 and hyphens."),
        ({"code": "M\u0661"}, "Must consist of A-Z, 0-9 and hyphens."),
        ({"code": "M" * 21}, "Must have at most 20 characters."),
        ({"code": ""}, "Must not be empty."),
        ({"name": "n" * 101}, "Must have at most 100 characters."),
        ({"instructor": "n" * 101}, "Must have at most 100 characters."),
        ({"credits": 0}, "Must be 1 to 10."),
        ({"credits": 11}, "Must be 1 to 10."),
        ({"credits": 1.0}, "Must be an integer."),
        ({"credits": "5"}, "Must be an integer."),
        ({"credits": True}, "Must be an integer."),
        ({"capacity": 0}, "Must be 1 to 10000."),
        ({"capacity": 10_001}, "Must be 1 to 10000."),
        ({"enrolled": 0}, "Unknown field."),
    ],
)
def test_an_invalid_course_changes_nothing(app: Flask, carol: Person, members: dict[str, Any], message: str) -> None:
    course = new_course(carol)
    path = f"/courses/{course['id']}"
    attempts = (
        carol.post("/courses", json={**COURSE, **members}),
        carol.put(path, json={**COURSE, **members}),
        carol.patch(path, json=members),
    )
    for response in attempts:
        assert problem(response) == (422, "validation_error")
        assert response.get_json()["errors"] == {next(iter(members)): [message]}
    assert carol.get(path).get_json() == course
    assert count_rows(app, Course) == 1


def test_a_code_is_used_once(app: Flask, carol: Person) -> None:
    course, other = new_course(carol), new_course(carol, code="ART-1")
    path = f"/courses/{other['id']}"
    attempts = (
        carol.post("/courses", json=COURSE),
        carol.put(path, json=COURSE),
        carol.patch(path, json={"code": COURSE["code"]}),
    )
    assert {problem(response) for response in attempts} == {(409, "code_taken")}
    assert carol.get(path).get_json() == other
    assert carol.put(f"/courses/{course['id']}", json=COURSE).get_json() == course
    assert carol.delete(f"/courses/{course['id']}").status_code == 204
    assert carol.patch(path, json={"code": COURSE["code"]}).status_code == 200
    assert count_rows(app, Course) == 1


def test_a_course_is_replaced_and_changed(carol: Person) -> None:
    course = new_course(carol)
    path = f"/courses/{course['id']}"
    changes = {"code": "Z-9", "name": "Other", "instructor": "", "credits": 1, "capacity": 10_000}
    for name, value in changes.items():
        changed = carol.patch(path, json={name: value}).get_json()
        assert changed == {**course, name: value, "updated_at": changed["updated_at"]}
        assert changed["updated_at"] > course["updated_at"]
        course = changed
    assert carol.patch(path, json={}).get_json() == course
    assert carol.put(path, json=changes).get_json() == course
    replaced = carol.put(path, json={name: COURSE[name] for name in COURSE if name != "instructor"}).get_json()
    assert {name: replaced[name] for name in COURSE} == {**COURSE, "instructor": ""}


def test_a_stale_tag_refuses_every_change(alice: Person, carol: Person) -> None:
    response = carol.post("/courses", json=COURSE)
    path, stale = f"/courses/{response.get_json()['id']}", {"If-Match": response.headers["ETag"]}
    # The tag is that of the number of enrolments too.
    enrolled = alice.post(f"{path}/enrolments")
    for method, body in (("PUT", COURSE), ("PATCH", {"name": "Late"}), ("DELETE", None)):
        options: dict[str, Any] = {} if body is None else {"json": body}
        assert problem(carol.call(method, path, headers=stale, **options)) == (412, "precondition_failed")
    current = {"If-Match": carol.get(path).headers["ETag"]}
    assert carol.patch(path, json={"credits": 1}, headers=current).status_code == 200
    enrolment, tag = f"/enrolments/{enrolled.get_json()['id']}", {"If-Match": enrolled.headers["ETag"]}
    assert carol.patch(enrolment, json={"grade": "A"}, headers=tag).status_code == 200
    assert problem(carol.patch(enrolment, json={"grade": "B"}, headers=tag)) == (412, "precondition_failed")
    assert problem(alice.delete(enrolment, headers=tag)) == (412, "precondition_failed")
    assert alice.get(enrolment).get_json()["grade"] == "A"


def test_courses_are_listed_in_each_order(client: FlaskClient, carol: Person) -> None:
    made = [
        new_course(carol, code=code, name=name) for code, name in (("B", "b"), ("C", "a"), ("A", "c"), ("A-1", "b"))
    ]
    for key in COURSE_ORDERS:
        expected = sorted(made, key=lambda course: (str(course[key]), course["id"]))
        for path in (f"/courses?sort={key}", f"/courses?sort={key}&page=1"):
            assert client.get(API + path).get_json()["items"] == expected
        assert client.get(f"{API}/courses?sort=-{key}").get_json()["items"] == expected[::-1]
    assert client.get(f"{API}/courses").get_json()["items"] == sorted(made, key=lambda course: str(course["code"]))


def test_a_user_enrols_once(app: Flask, alice: Person, bob: Person, carol: Person) -> None:
    course = new_course(carol)
    response = alice.post(f"/courses/{course['id']}/enrolments")
    assert response.status_code == 201
    enrolment = response.get_json()
    assert enrolment == {
        "id": enrolment["id"],
        "course": {name: course[name] for name in ("id", "code", "name")},
        "user": {"id": alice.id, "name": "Alice"},
        "enrolled_at": enrolment["enrolled_at"],
        "grade": None,
    }
    read = alice.get(response.headers["Location"].removeprefix(API))
    assert (read.get_json(), read.headers["ETag"]) == (enrolment, response.headers["ETag"])
    assert problem(alice.post(f"/courses/{course['id']}/enrolments")) == (409, "already_enrolled")
    enrol(bob, course)
    assert carol.get(f"/courses/{course['id']}").get_json()["enrolled"] == count_rows(app, Enrolment) == 2
    # A user who is enrolled already is told that, and not that the course is full.
    assert problem(alice.post(f"/courses/{course['id']}/enrolments")) == (409, "already_enrolled")
    assert problem(carol.post(f"/courses/{course['id']}/enrolments")) == (409, "course_full")
    assert problem(carol.post(f"/courses/{course['id'] + 1}/enrolments")) == (404, "not_found")
    assert problem(alice.post(f"/courses/{course['id']}/enrolments", json={"user_id": bob.id}))[0] == 422
    # A place is free again.
    assert alice.delete(f"/enrolments/{enrolment['id']}").status_code == 204
    enrol(carol, course)
    assert count_rows(app, Enrolment) == 2


def test_a_repeated_key_enrols_once(app: Flask, alice: Person, carol: Person) -> None:
    path = f"/courses/{new_course(carol)['id']}/enrolments"
    headers = {"Idempotency-Key": "one"}
    first, again = (alice.post(path, headers=headers) for _ in range(2))
    assert (first.status_code, first.data) == (again.status_code, again.data)
    assert again.headers["Idempotency-Replayed"] == "true"
    other = f"/courses/{new_course(carol, code='B')['id']}/enrolments"
    assert problem(alice.post(other, headers=headers)) == (422, "idempotency_key_reused")
    assert count_rows(app, Enrolment) == 1


def test_the_capacity_is_at_least_the_number_of_enrolments(alice: Person, bob: Person, carol: Person) -> None:
    course = new_course(carol, capacity=2)
    path = f"/courses/{course['id']}"
    enrol(alice, course)
    second = enrol(bob, course)
    current = carol.get(path).get_json()
    for response in (carol.patch(path, json={"capacity": 1}), carol.put(path, json={**COURSE, "capacity": 1})):
        assert problem(response) == (409, "conflict")
    assert carol.get(path).get_json() == current
    assert carol.patch(path, json={"capacity": 2, "name": "Other"}).get_json()["enrolled"] == 2
    assert bob.delete(f"/enrolments/{second['id']}").status_code == 204
    assert carol.patch(path, json={"capacity": 1}).status_code == 200


@pytest.mark.parametrize("grade", ["A", "A+", "10", None, "é", "👍"])
def test_an_administrator_sets_a_grade(alice: Person, carol: Person, grade: str | None) -> None:
    enrolment = enrol(alice, new_course(carol))
    path = f"/enrolments/{enrolment['id']}"
    assert carol.patch(path, json={"grade": grade}).get_json() == {**enrolment, "grade": grade}
    assert carol.patch(path, json={}).get_json() == alice.get(path).get_json() == {**enrolment, "grade": grade}
    for invalid in ("", "ABC", " ", 1, ["A"], True):
        response = carol.patch(path, json={"grade": invalid})
        assert (problem(response), [*response.get_json()["errors"]]) == ((422, "validation_error"), ["grade"])
    assert problem(alice.patch(path, json={"grade": "A"})) == (403, "forbidden")
    assert alice.get(path).get_json()["grade"] == grade


def test_an_enrolment_is_known_to_its_user_and_administrators(alice: Person, bob: Person, carol: Person) -> None:
    course = new_course(carol)
    enrolment = enrol(alice, course)
    path = f"/enrolments/{enrolment['id']}"
    assert problem(bob.get(path)) == problem(bob.delete(path)) == (404, "not_found")
    assert problem(bob.get(f"/users/{alice.id}/enrolments")) == (403, "forbidden")
    assert problem(bob.get(f"/courses/{course['id']}/enrolments")) == (403, "forbidden")
    for person in (alice, carol):
        assert person.get(f"/users/{alice.id}/enrolments").get_json()["items"] == [enrolment]
    assert carol.get(f"/courses/{course['id']}/enrolments").get_json()["items"] == [enrolment]
    assert carol.get(f"/users/{bob.id}/enrolments").get_json()["items"] == []
    for missing in (f"/users/{2**63 - 1}/enrolments", f"/courses/{2**63 - 1}/enrolments"):
        assert problem(carol.get(missing)) == (404, "not_found")
    assert carol.delete(path).status_code == 204
    assert problem(carol.delete(path)) == (404, "not_found")


def test_lists_of_enrolments_have_pages(join: Cast, carol: Person) -> None:
    course = new_course(carol, capacity=9)
    made = [enrol(join(f"Member{number}"), course) for number in range(5)]
    path = f"/courses/{course['id']}/enrolments?limit=2"
    listed: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = carol.get(f"{path}&cursor={cursor}" if cursor else path).get_json()
        listed += page["items"]
        cursor = page["pagination"]["next_cursor"]
    assert listed == made[::-1]
    assert carol.get(f"{path}&page=2&sort=enrolled_at").get_json()["items"] == made[2:4]


def test_enrolments_are_exported_and_deleted_with_their_user(app: Flask, alice: Person, carol: Person) -> None:
    courses = [new_course(carol, code=code) for code in ("A", "B")]
    made = [enrol(alice, course) for course in courses]
    enrol(carol, courses[0])
    made[0] = carol.patch(f"/enrolments/{made[0]['id']}", json={"grade": "A"}).get_json()
    assert alice.get(f"/users/{alice.id}/export").get_json()["enrolments"] == made
    assert alice.delete(f"/users/{alice.id}").status_code == 204
    assert count_rows(app, Enrolment) == 1
    assert [carol.get(f"/courses/{course['id']}").get_json()["enrolled"] for course in courses] == [1, 0]


def test_the_enrolments_of_a_user_whose_deletion_has_begun_are_hidden(
    app: Flask, alice: Person, bob: Person, carol: Person
) -> None:
    course = new_course(carol)
    hidden, shown = enrol(alice, course), enrol(bob, course)
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(update(User).where(User.id == alice.id).values(deleted_at=utc_now()))
    for path in (f"/courses/{course['id']}/enrolments", f"/courses/{course['id']}/enrolments?page=1"):
        assert carol.get(path).get_json()["items"] == [shown]
    assert problem(carol.get(f"/enrolments/{hidden['id']}")) == (404, "not_found")
    assert problem(carol.get(f"/users/{alice.id}/enrolments")) == (404, "not_found")


def test_a_course_is_deleted_with_its_enrolments(app: Flask, alice: Person, carol: Person) -> None:
    course, other = new_course(carol), new_course(carol, code="B")
    enrolment = enrol(alice, course)
    enrol(alice, other)
    assert carol.delete(f"/courses/{course['id']}").status_code == 204
    assert problem(alice.get(f"/enrolments/{enrolment['id']}")) == (404, "not_found")
    assert count_rows(app, Enrolment, course_id=other["id"]) == count_rows(app, Enrolment) == 1


def test_a_user_who_was_deleted_meanwhile_is_not_enrolled(
    app: Flask, alice: Person, carol: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    course = new_course(carol)
    lookup = app.extensions["gatepost"].authenticate

    def authenticate(token: str) -> Any:
        caller = lookup(token)
        delete_user_row(app, caller.id)
        return caller

    monkeypatch.setattr(app.extensions["gatepost"], "authenticate", authenticate)
    assert problem(alice.post(f"/courses/{course['id']}/enrolments")) == (401, "token_revoked")
    assert count_rows(app, Enrolment) == 0


def test_the_number_of_statements_does_not_depend_on_the_number_of_rows(
    app: Flask, alice: Person, bob: Person, carol: Person
) -> None:
    courses: list[dict[str, Any]] = []
    numbers = []
    for code in ("A", "B", "C"):
        courses.append(new_course(carol, code=code))
        enrol(alice, courses[-1])
        enrol(bob, courses[0]) if code == "A" else enrol(bob, courses[-1])
        counts = []
        for path in ("/courses", f"/courses/{courses[0]['id']}/enrolments", f"/users/{alice.id}/enrolments"):
            with counted(app) as statements:
                assert carol.get(path).status_code == 200
            counts.append(len(statements))
        numbers.append(counts)
    # One for the caller, and one for the rows; for enrolments also one for the course or the user.
    assert numbers == [[2, 3, 3]] * 3
