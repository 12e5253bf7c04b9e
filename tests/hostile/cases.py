"""A test case: one row of a table with its request, and the checks of the response."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import API
from tests.hostile.target import Answer, Target, message

Fields = list[tuple[str, str]]
JSON = "application/json"
# Internals of the program, its files and its database, which no response may contain.
INSIDES = re.compile(
    rb"Traceback|File \"|site-packages|\.py\b|(?i:sqlalchemy|psycopg|sqlite3|argon2|werkzeug|gunicorn)|SELECT |INSERT |"
    rb"/usr/|/tmp/|[a-z]Error\b",
)


@dataclass(frozen=True)
class Case:
    """A hostile request with the status and the code of its response; without a code it succeeds."""

    name: str
    status: int
    code: str
    build: Callable[[Target], bytes]

    def __str__(self) -> str:
        return self.name


def raw(name: str, data: bytes, status: int, code: str = "") -> Case:
    """Return a case with these bytes as its request."""
    return Case(name, status, code, lambda _: data)


def ask(
    name: str,
    request: str,
    status: int,
    code: str = "",
    *,
    body: Any = None,
    user: str = "",
    headers: Iterable[tuple[str, str]] = (),
    media: str = JSON,
) -> Case:
    """Return a case with a request such as "GET /posts", below the API's base path unless it begins with "//".

    `body` is bytes, text, or a value to be sent as JSON; `user` names the user that makes the call.
    """
    method, _, path = request.partition(" ")
    target_path = path[1:] if path.startswith("//") else API + path
    content = body if isinstance(body, bytes | str) else b"" if body is None else json.dumps(body).encode()

    def build(target: Target) -> bytes:
        fields = [*headers]
        if user:
            fields.append(("Authorization", f"Bearer {target.people[user].access}"))
        if content and not any(name.lower() == "content-type" for name, _ in fields) and media:
            fields.append(("Content-Type", media))
        return message(method, target_path, fields, content)

    return Case(name, status, code, build)


def table(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test once for each case. The names of the cases must be unique within the table."""
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), {name for name in names if names.count(name) > 1}
    return pytest.mark.parametrize("case", cases, ids=[ascii(name)[1:-1] for name in names])


def check(target: Target, case: Case) -> Answer:
    """Send a case, check its response against the table, and check that the database has not changed."""
    answer = target.send(case.build(target))
    is_changed = not target.is_whole()
    if is_changed:
        target.restore()  # for the next case, also if this one fails
    assert (answer.status, code_of(answer)) == (case.status, case.code), answer.body[:300]
    if case.status >= 400:
        assert_refusal(answer)
        assert not is_changed, "a refused request changed something"
    return answer


def code_of(answer: Answer) -> str:
    """Return the code of a problem, or "" for another response."""
    if answer.headers.get_content_type() != "application/problem+json" or not answer.body:
        return ""
    return str(answer.json()["code"])


def assert_refusal(answer: Answer) -> None:
    """Check what must be true of every error response."""
    names = [name.lower() for name, _ in answer.headers.items()]
    assert sorted(set(names)) == sorted(names), names
    headers = answer.headers
    # gunicorn sends no Server header with its own error responses.
    assert headers["Server"] in (None, "gunicorn", "granian")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", headers["X-Request-ID"])
    assert not INSIDES.search(answer.body), answer.body[:300]
    if answer.body:
        document = answer.json()
        assert (document["status"], document["request_id"]) == (answer.status, headers["X-Request-ID"])
        assert document["type"] == "/problems/" + document["code"].replace("_", "-")
    if answer.status == 401:
        assert headers["WWW-Authenticate"].startswith("Bearer realm=")


def assert_unharmed(target: Target) -> None:
    """Check that the server responds, has sent no 5xx, has logged no error, and has unchanged data."""
    for path in ("/health", "/health/ready", f"{API}/posts"):
        assert target.send(message("GET", path)).status == 200
    assert len(target.server.worker_pids()) == 2
    for line in target.log_lines():
        # A request from an unknown origin is a reason to check CORS_ORIGINS.
        assert line["level"] in ("debug", "info") or line["logger"] == "gatepost.cors", line
        assert "exception" not in line, line
        assert line.get("status", 0) < 500, line
    assert target.is_whole()
