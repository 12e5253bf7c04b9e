"""The problems that only the school has. Each has a page, which is made from the texts here."""

from __future__ import annotations

from app.api.errors import Problem


class CodeTaken(Problem):
    """Another course has this code."""

    code, status = "code_taken", 409
    detail = "A course with this code exists."
    advice = "Ask for another code."


class AlreadyEnrolled(Problem):
    """You are enrolled in this course already."""

    code, status = "already_enrolled", 409
    detail = "You are enrolled in this course already."
    advice = "Show the enrolment that exists."


class CourseFull(Problem):
    """The course has as many enrolments as its capacity allows."""

    code, status = "course_full", 409
    detail = "This course is full."
    advice = "Offer another course, or try again later: a place is free when an enrolment is deleted."
