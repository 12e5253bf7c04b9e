"""The base class of all problems, and the JSON document that reports a problem to a client (RFC 9457).

This package must not import Flask: services raise problems outside of requests too, in commands for example.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

REALM = "gatepost"
# Sentences that the advice of several problems shares.
NOT_DONE = "The request had no effect."
WAIT = "Wait for the number of seconds in the Retry-After header, then send the same request again."
# Every problem class by its code, built-in or of a feature.
PROBLEMS: dict[str, type[Problem]] = {}
_CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_TEXTS = ("detail", "__doc__", "advice")


class Problem(Exception):
    """The reason why a request is refused or fails. Each subclass describes one problem completely.

    Raising a problem rolls the transaction back. A view that returns a problem commits what it has written, then
    the problem is sent. A subclass must define `code`, `status`, `detail` and `advice`, and have a docstring that says
    when the problem occurs, or inherit all of them from another problem; otherwise, or if another class has the same
    code, defining it raises TypeError.
    """

    code: ClassVar[str]
    status: ClassVar[int]
    # By default, the words of the code.
    title: ClassVar[str]
    # A sentence for people; an instance may replace it with a more exact one.
    detail: str
    # When the problem occurs, which is the class' docstring, and what a client should do about it: the text of the page
    # that `type` refers to.
    when: ClassVar[str]
    advice: ClassVar[str]
    # The `error` parameter of WWW-Authenticate (RFC 6750 section 3.1); "" sends a challenge without it, None none.
    challenge: ClassVar[str | None] = None
    # When the same request may succeed: sent as Retry-After, and part of the default detail.
    retry_after_seconds: int | None = None
    # The extension members (RFC 9457 section 3.2) of the example in the documentation.
    example_members: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "code" in vars(cls):
            _register(cls)
        elif not hasattr(cls, "code"):
            raise TypeError(f"{cls.__qualname__} needs a code.")

    def __init__(self, detail: str | None = None, retry_after_seconds: int | None = None) -> None:
        if retry_after_seconds is not None:
            self.retry_after_seconds = retry_after_seconds
        self.detail = detail or self.default_detail(self.retry_after_seconds)
        super().__init__(self.detail)

    @classmethod
    def default_detail(cls, retry_after_seconds: int | None) -> str:
        """Return the detail of an instance that has no text of its own."""
        if retry_after_seconds is None:
            return cls.detail
        return f"{cls.detail} Try again in {describe_seconds(retry_after_seconds)}."

    def headers(self) -> dict[str, str]:
        """Return the HTTP headers that this problem adds to those of every response."""
        headers = {}
        if self.challenge is not None:
            headers["WWW-Authenticate"] = bearer_challenge(self.challenge, self.detail)
        if self.retry_after_seconds is not None:
            headers["Retry-After"] = str(self.retry_after_seconds)
        return headers

    def members(self) -> dict[str, Any]:
        """Return the extension members of the document (RFC 9457 section 3.2)."""
        return {}


def _register(cls: type[Problem]) -> None:
    if not _CODE.fullmatch(cls.code):
        raise TypeError(f"{cls.__qualname__}: {cls.code!r} is not a code such as 'email_taken'.")
    # An inherited text would describe another problem; the status may be inherited.
    missing = [name for name in _TEXTS if not vars(cls).get(name)]
    if not 400 <= getattr(cls, "status", 0) <= 599:
        missing.insert(0, "status")
    if missing:
        raise TypeError(f"{cls.__qualname__} ({cls.code}) needs: {', '.join(missing)}.")
    known = PROBLEMS.get(cls.code, cls)
    # A module that is imported twice defines the same class again.
    if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
        owner = f"{known.__module__}.{known.__qualname__}"
        raise TypeError(f"{cls.__qualname__}: {owner} already has the code {cls.code!r}.")
    cls.title = vars(cls).get("title") or cls.code.replace("_", " ").capitalize()
    cls.when = " ".join(str(cls.__doc__).split())
    PROBLEMS[cls.code] = cls


def list_problems() -> list[type[Problem]]:
    """Return every problem class that has been defined, ordered by status and code."""
    return sorted(PROBLEMS.values(), key=lambda problem: (problem.status, problem.code))


def describe_seconds(seconds: int) -> str:
    """Return a duration in words, rounded up: "40 seconds", "5 minutes", "about an hour", "about 3 hours"."""
    if seconds < 60:
        return "1 second" if seconds == 1 else f"{seconds} seconds"
    minutes = math.ceil(seconds / 60)
    if minutes <= 50:
        return "1 minute" if minutes == 1 else f"{minutes} minutes"
    # Ten minutes more than the full hour still are "about" that hour.
    hours = math.ceil((minutes - 10) / 60)
    return "about an hour" if hours == 1 else f"about {hours} hours"


def bearer_challenge(error: str, description: str) -> str:
    """Return a WWW-Authenticate value (RFC 6750 section 3); without `error` parameter if `error` is empty."""
    if not error:
        return f'Bearer realm="{REALM}"'
    # The grammar of error_description excludes quotes, backslashes and characters beyond ASCII.
    plain = "".join(c for c in description if " " <= c <= "~" and c not in '"\\')
    return f'Bearer realm="{REALM}", error="{error}", error_description="{plain}"'


def problem_path(problem: Problem | type[Problem], prefix: str = "") -> str:
    """Return the path of the page that explains a problem, below SERVICE_PREFIX: the `type` of its documents."""
    return f"{prefix}/problems/{problem.code.replace('_', '-')}"


def problem_document(problem: Problem, request_id: str, prefix: str = "") -> dict[str, Any]:
    """Return the document of a problem (RFC 9457 section 3); `prefix` is SERVICE_PREFIX."""
    return _document(problem, problem.detail, request_id, prefix) | problem.members()


def example_document(problem: type[Problem], request_id: str, prefix: str = "") -> dict[str, Any]:
    """Return an example of the documents of a problem class, made without an instance."""
    detail = problem.default_detail(problem.retry_after_seconds)
    return _document(problem, detail, request_id, prefix) | dict(problem.example_members)


def _document(problem: Problem | type[Problem], detail: str, request_id: str, prefix: str) -> dict[str, Any]:
    return {
        "type": problem_path(problem, prefix),
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": detail,
        "request_id": request_id,
    }
