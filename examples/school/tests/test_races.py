"""Races for the places of a course, on a server with several processes."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from examples.school.examples import COURSE
from gatepost.testing.races import Arena, race

CROWD = 50


def new_course(arena: Arena, admin: str, **members: Any) -> str:
    """Create a course and return its path."""
    reply = arena.call("POST", "/courses", token=admin, body={**COURSE, **members})
    assert reply.status == 201, reply.content
    return f"/courses/{reply.json['id']}"


def test_fifty_enrolments_at_once_never_exceed_the_capacity(arena: Arena) -> None:
    admin = arena.join("admin").log_in().access
    tokens = [arena.join().log_in().access for _ in range(CROWD)]
    for places in (1, 7):
        path = new_course(arena, admin, code=f"C-{places}", capacity=places)
        replies = race(*(partial(arena.call, "POST", f"{path}/enrolments", token=token) for token in tokens))
        outcomes = Counter(reply.outcome for reply in replies)
        assert outcomes == {(201, ""): places, (409, "course_full"): CROWD - places}
        assert arena.call("GET", path).json["enrolled"] == places


def test_a_user_who_enrols_many_times_at_once_is_enrolled_once(arena: Arena) -> None:
    admin = arena.join("admin").log_in().access
    token = arena.join().log_in().access
    path = new_course(arena, admin, capacity=100)
    replies = race(*[partial(arena.call, "POST", f"{path}/enrolments", token=token)] * 12)
    assert Counter(reply.outcome for reply in replies) == {(201, ""): 1, (409, "already_enrolled"): 11}
    assert arena.number("SELECT count(*) FROM enrolments") == 1


def test_one_key_enrols_once(arena: Arena) -> None:
    admin = arena.join("admin").log_in().access
    token = arena.join().log_in().access
    path = new_course(arena, admin)
    call = partial(arena.call, "POST", f"{path}/enrolments", token=token, headers={"Idempotency-Key": "one"})
    replies = race(*[call] * 12)
    assert {reply.outcome for reply in replies} <= {(201, ""), (409, "idempotency_in_progress")}
    assert len({reply.content for reply in replies if reply.status == 201}) == 1
    assert call().status == 201
    assert arena.number("SELECT count(*) FROM enrolments") == 1


def test_a_capacity_that_is_lowered_meanwhile_holds(arena: Arena) -> None:
    admin = arena.join("admin").log_in().access
    tokens = [arena.join().log_in().access for _ in range(8)]
    for number in range(3):
        path = new_course(arena, admin, code=f"C-{number}", capacity=8)
        lower = partial(arena.call, "PATCH", path, token=admin, body={"capacity": 4})
        *enrolled, lowered = race(
            *(partial(arena.call, "POST", f"{path}/enrolments", token=token) for token in tokens), lower
        )
        course = arena.call("GET", path).json
        assert course["enrolled"] == [reply.status for reply in enrolled].count(201) <= course["capacity"]
        assert {reply.outcome for reply in enrolled} <= {(201, ""), (409, "course_full")}
        assert lowered.outcome == ((200, "") if course["capacity"] == 4 else (409, "conflict"))


def test_of_several_courses_with_one_code_one_is_created(arena: Arena) -> None:
    admin = arena.join("admin").log_in().access
    replies = race(*[partial(arena.call, "POST", "/courses", token=admin, body=COURSE)] * 10)
    assert Counter(reply.outcome for reply in replies) == {(201, ""): 1, (409, "code_taken"): 9}


def test_of_several_grades_with_one_tag_one_is_set(arena: Arena) -> None:
    admin = arena.join("admin").log_in().access
    path = new_course(arena, admin)
    enrolment = arena.call("POST", f"{path}/enrolments", token=arena.join().log_in().access)
    target, headers = f"/enrolments/{enrolment.json['id']}", {"If-Match": enrolment.headers["etag"]}
    replies = race(
        *(
            partial(arena.call, "PATCH", target, token=admin, body={"grade": grade}, headers=headers)
            for grade in ("A", "B", "C", "D")
        )
    )
    assert Counter(reply.outcome for reply in replies) == {(200, ""): 1, (412, "precondition_failed"): 3}
    [won] = [reply.json["grade"] for reply in replies if reply.status == 200]
    assert arena.call("GET", target, token=admin).json["grade"] == won


def test_a_course_that_is_deleted_meanwhile_has_no_enrolments(arena: Arena) -> None:
    admin = arena.join("admin").log_in().access
    tokens = [arena.join().log_in().access for _ in range(6)]
    for number in range(3):
        path = new_course(arena, admin, code=f"C-{number}", capacity=9)
        *enrolled, deleted = race(
            *(partial(arena.call, "POST", f"{path}/enrolments", token=token) for token in tokens),
            partial(arena.call, "DELETE", path, token=admin),
        )
        assert deleted.outcome == (204, "")
        assert {reply.outcome for reply in enrolled} <= {(201, ""), (404, "not_found")}
        assert arena.number("SELECT count(*) FROM enrolments") == 0
