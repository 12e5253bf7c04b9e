"""A case: one line of a table, the request it stands for, and what must be true of the answer."""

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
# What no answer may hold: the insides of the program, its files, or its database.
INSIDES = re.compile(
    rb"Traceback|File \"|site-packages|\.py\b|(?i:sqlalchemy|psycopg|sqlite3|argon2|werkzeug|gunicorn)|SELECT |INSERT |"
    rb"/usr/|/tmp/|[a-z]Error\b",
)


@dataclass(frozen=True)
class Case:
    """A hostile request, and the status and code that answer it; no code means that it is served."""

    name: str
    status: int
    code: str
    build: Callable[[Target], bytes]

    def __str__(self) -> str:
        return self.name


def raw(name: str, data: bytes, status: int, code: str = "") -> Case:
    """A case of bytes as they are."""
    return Case(name, status, code, lambda _: data)


def ask(
    name: str,
    request: str,
    status: int,
    code: str = "",
    *,
    body: Any = None,
    who: str = "",
    headers: Iterable[tuple[str, str]] = (),
    media: str = JSON,
) -> Case:
    """A case of a request such as "GET /posts", below the API's base path unless it begins with "//".

    `body` is bytes, text, or a value to be sent as JSON; `who` of the cast makes the call.
    """
    method, _, path = request.partition(" ")
    target_path = path[1:] if path.startswith("//") else API + path
    content = body if isinstance(body, bytes | str) else b"" if body is None else json.dumps(body).encode()

    def build(target: Target) -> bytes:
        fields = [*headers]
        if who:
            fields.append(("Authorization", f"Bearer {target.people[who].access}"))
        if content and not any(name.lower() == "content-type" for name, _ in fields) and media:
            fields.append(("Content-Type", media))
        return message(method, target_path, fields, content)

    return Case(name, status, code, build)


def table(cases: list[Case]) -> pytest.MarkDecorator:
    """Run a test for each case, by its name, which no other case of the table has."""
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), {name for name in names if names.count(name) > 1}
    return pytest.mark.parametrize("case", cases, ids=[ascii(name)[1:-1] for name in names])


def check(target: Target, case: Case) -> Answer:
    """Send a case; hold the answer to the table, and the database to what it held."""
    answer = target.send(case.build(target))
    is_changed = not target.is_whole()
    if is_changed:
        target.restore()  # for the next case, whatever becomes of this one
    assert (answer.status, code_of(answer)) == (case.status, case.code), answer.body[:300]
    if case.status >= 400:
        assert_refusal(answer)
        assert not is_changed, "a refused request changed something"
    return answer


def code_of(answer: Answer) -> str:
    """The code of a problem, "" for what is none."""
    if answer.headers.get_content_type() != "application/problem+json" or not answer.body:
        return ""
    return str(answer.json()["code"])


def assert_refusal(answer: Answer) -> None:
    """What holds for every refusal, whatever it refuses."""
    names = [name.lower() for name, _ in answer.headers.items()]
    assert sorted(set(names)) == sorted(names), names
    headers = answer.headers
    assert headers["Server"] == "gatepost"
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
    """The server still serves, has sent no 5xx, has logged no error, and holds what it held."""
    for path in ("/health", "/health/ready", f"{API}/posts"):
        assert target.send(message("GET", path)).status == 200
    assert len(target.server.worker_pids()) == 2
    for line in target.log_lines():
        assert line["level"] in ("debug", "info"), line
        assert "exception" not in line, line
        assert line.get("status", 0) < 500, line
    assert target.is_whole()
