"""The problem classes: their definition and registration, and the texts of their documents."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from app.api.errors import (
    PROBLEMS,
    DatabaseUnavailable,
    EmailTaken,
    IdempotencyInProgress,
    Maintenance,
    Overloaded,
    Problem,
    RateLimited,
    TokenExpired,
    example_document,
    list_problems,
    problem_document,
)
from app.api.errors.base import describe_seconds

COMPLETE = {
    "code": "seat_taken",
    "status": 409,
    "title": "Seat taken",
    "detail": "The seat is taken.",
    "__doc__": "Another passenger has the seat.",
    "advice": "Offer another seat.",
}


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> dict[str, type[Problem]]:
    """A copy of the registry, so that the classes of these tests are not added to the real one."""
    copy = dict(PROBLEMS)
    monkeypatch.setattr("app.api.errors.base.PROBLEMS", copy)
    return copy


def define(attributes: Mapping[str, object], name: str = "SeatTaken", base: type[Problem] = Problem) -> type[Problem]:
    """Define a problem class as a module of a feature does."""
    return type(name, (base,), {"__module__": "examples.trips.problems", "__qualname__": name, **attributes})


# Definition


def test_a_problem_of_a_feature_is_registered(registry: dict[str, type[Problem]]) -> None:
    seat_taken = define(COMPLETE)
    assert registry["seat_taken"] is seat_taken
    assert seat_taken in list_problems()
    assert problem_document(seat_taken(), "id", "/example") == {
        "type": "/example/problems/seat-taken",
        "title": "Seat taken",
        "status": 409,
        "code": "seat_taken",
        "detail": "The seat is taken.",
        "request_id": "id",
    }


def test_the_title_is_by_default_the_words_of_the_code() -> None:
    attributes = {name: value for name, value in COMPLETE.items() if name != "title"}
    assert define(attributes | {"code": "no_seat_left"}).title == "No seat left"
    assert define(attributes | {"code": "too_many"}, base=RateLimited).title == "Too many"
    assert define(COMPLETE | {"title": "Taken"}).title == "Taken"


@pytest.mark.parametrize("missing", ["status", "detail", "__doc__", "advice"])
@pytest.mark.parametrize("empty", [False, True])
def test_an_incomplete_problem_is_refused(registry: dict[str, type[Problem]], missing: str, empty: bool) -> None:
    attributes = {name: value for name, value in COMPLETE.items() if name != missing}
    if empty:
        attributes[missing] = 0 if missing == "status" else ""
    with pytest.raises(TypeError, match=rf"SeatTaken \(seat_taken\) needs: {missing}"):
        define(attributes)
    assert "seat_taken" not in registry


def test_a_problem_without_a_code_is_refused() -> None:
    with pytest.raises(TypeError, match="SeatTaken needs a code"):
        define({name: value for name, value in COMPLETE.items() if name != "code"})


@pytest.mark.parametrize("code", ["", "Seat", "seat-taken", "seat__taken", "_seat", "seat_", "seat taken", "ſeat"])
def test_a_code_that_is_no_path_segment_is_refused(code: str) -> None:
    with pytest.raises(TypeError, match="is not a code"):
        define(COMPLETE | {"code": code})


@pytest.mark.parametrize("status", [200, 399, 600])
def test_a_status_that_is_no_error_is_refused(status: int) -> None:
    with pytest.raises(TypeError, match="needs: status"):
        define(COMPLETE | {"status": status})


def test_two_classes_cannot_have_the_same_code(registry: dict[str, type[Problem]]) -> None:
    with pytest.raises(TypeError, match=r"app\.api\.errors\.resources\.EmailTaken already has the code 'email_taken'"):
        define(COMPLETE | {"code": "email_taken"})
    assert registry["email_taken"] is EmailTaken


def test_a_module_may_be_imported_twice(registry: dict[str, type[Problem]]) -> None:
    define(COMPLETE)
    again = define(COMPLETE)
    assert registry["seat_taken"] is again


def test_a_subclass_without_a_code_is_the_same_problem(registry: dict[str, type[Problem]]) -> None:
    special = define({}, "AddressTaken", EmailTaken)
    assert special().code == "email_taken"
    assert registry["email_taken"] is EmailTaken


def test_a_subclass_with_a_code_does_not_inherit_the_explanation() -> None:
    with pytest.raises(TypeError, match="needs: detail, __doc__, advice"):
        define({"code": "seat_taken"}, base=EmailTaken)


def test_problems_are_listed_by_status_and_code() -> None:
    define(COMPLETE)
    listed = [(problem.status, problem.code) for problem in list_problems()]
    assert listed == sorted(listed)
    assert len(listed) == len(PROBLEMS) + 1


@pytest.mark.parametrize("problem", list_problems(), ids=lambda problem: problem.code)
def test_the_example_of_a_problem_needs_no_instance(problem: type[Problem]) -> None:
    document = example_document(problem, "id")
    assert (document["code"], document["status"], document["title"]) == (problem.code, problem.status, problem.title)
    assert document["detail"].startswith(problem.detail)


# Texts


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 seconds"),
        (1, "1 second"),
        (40, "40 seconds"),
        (59, "59 seconds"),
        (60, "1 minute"),
        (61, "2 minutes"),
        (300, "5 minutes"),
        (3000, "50 minutes"),
        (3001, "about an hour"),
        (3600, "about an hour"),
        (4200, "about an hour"),
        (4201, "about 2 hours"),
        (86_400, "about 24 hours"),
    ],
)
def test_a_duration_in_words(seconds: int, text: str) -> None:
    assert describe_seconds(seconds) == text


@pytest.mark.parametrize(
    ("problem", "detail", "seconds"),
    [
        (RateLimited(5, 0, 40), "Too many requests. Try again in 40 seconds.", "40"),
        (RateLimited(20, 0, 3500), "Too many requests. Try again in about an hour.", "3500"),
        (Overloaded(), "The service is overloaded. Try again in 1 second.", "1"),
        (Overloaded(None, 5), "The service is overloaded. Try again in 5 seconds.", "5"),
        (DatabaseUnavailable(), "The database does not respond. Try again in 1 second.", "1"),
        (Maintenance("", 600), "The service is under maintenance. Try again in 10 minutes.", "600"),
        (Maintenance("We are moving.", 600), "We are moving.", "600"),
        (
            IdempotencyInProgress(),
            "A request with this Idempotency-Key is still running. Try again in 1 second.",
            "1",
        ),
    ],
)
def test_a_detail_says_when_to_try_again(problem: Problem, detail: str, seconds: str) -> None:
    assert problem.detail == str(problem) == detail
    assert problem.headers()["Retry-After"] == seconds


def test_an_instance_does_not_change_its_class() -> None:
    Maintenance("We are moving.", 600)
    assert Maintenance().detail == "The service is under maintenance. Try again in 5 minutes."
    assert TokenExpired("Other text.").headers()["WWW-Authenticate"].endswith('error_description="Other text."')
    assert problem_document(TokenExpired(), "id")["detail"] == TokenExpired.detail
