"""Tests of the log: one line per request, no secrets, and no input that can add or imitate a line."""

from __future__ import annotations

import base64
import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from app import create_app
from app.components import components_of
from app.maintenance.service import MaintenanceCache, State
from app.observability import logs
from app.observability.logs import JsonFormatter, TextFormatter, redact
from tests.conftest import API, ROOT, Clock, Person, problem, settings_for
from tests.support.loglines import logged

BOTH = pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()], ids=["json", "text"])
TEXT_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG|INFO|WARNING|ERROR) +gatepost\.\S+ .*")
# The application logs this once for each origin.
UNKNOWN_ORIGIN = "origin is not in CORS_ORIGINS"
INJECTIONS = [
    *("x\nforged", "x\r\nforged", "x\u2028forged", "x\x85forged", "x\x0bforged", "x\x1b[2Kforged"),
    *("x status=200 user_id=1", '"}\n{"level":"info","event":"forged"}', "%0aforged", "%s%n{0}", "\x00", "é😀"),
]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restore the logging configuration of the process after each test."""
    log = logging.getLogger("gatepost")
    before = (log.handlers[:], log.level, log.propagate)
    yield
    log.handlers[:], log.propagate = before[0], before[2]
    log.setLevel(before[1])


def records(text: str) -> list[dict[str, Any]]:
    """Parse the lines of a JSON log."""
    return [json.loads(line) for line in text.splitlines()]


def record(message: str = "event", *, error: BaseException | None = None, **extra: Any) -> logging.LogRecord:
    """Return a record as a logger creates it."""
    info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("gatepost.test", logging.INFO, __file__, 1, message, (), info)
    vars(made).update(extra)
    return made


# One line per request


def test_a_request_is_one_line(app: Flask, client: FlaskClient, alice: Person) -> None:
    components_of(app).maintenance = MaintenanceCache(State)
    with logged() as log:
        response = alice.get("/posts/999?x=1", headers={"X-Request-ID": "mine"})
    [line] = records(log.getvalue())
    assert line.pop("time").endswith("Z")
    assert line.pop("duration_ms") > line.pop("sql_ms") > 0
    assert line == {
        "level": "info",
        "logger": "gatepost.request",
        "event": "request",
        "request_id": "mine",
        "method": "GET",
        "route": "/api/v1/posts/<id:post_id>",
        "status": response.status_code,
        "bytes_out": len(response.data),
        "sql_count": 1,
        "code": "validation_error",
        "user_id": alice.id,
        "session_id": alice.session_id,
        "ip": "127.0.0.1",
    }


def test_members_without_a_value_are_omitted(client: FlaskClient) -> None:
    with logged() as log:
        client.get("/nowhere")
    [line] = records(log.getvalue())
    assert "user_id" not in line
    assert "route" not in line
    assert "aborted" not in line
    assert (line["status"], line["code"], line["path"]) == (404, "not_found", "/nowhere")


@pytest.mark.parametrize(
    ("path", "logged_path"),
    [
        ("/nowhere", "/nowhere"),
        ("//api/v1/posts", "//api/v1/posts"),
        (API + "/posts/999", API + "/posts/999"),
        ("/é\u202e\u2028x", "/é\ufffd\ufffdx"),
        ("/a\r\nb\x00\x1b[2K", "/a\ufffd\ufffdb\ufffd\ufffd[2K"),
        ("/\ud800", "/\ufffd\ufffd\ufffd"),
        ("/" + "x" * 5000, "/" + "x" * 199),
        ("/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "/[redacted]"),
    ],
    ids=ascii,
)
def test_the_path_of_a_404_is_logged_and_no_label(app: Flask, client: FlaskClient, path: str, logged_path: str) -> None:
    raw = path.encode("utf-8", "surrogatepass").decode("latin-1")
    with logged() as log:
        response = client.get(environ_overrides={"PATH_INFO": raw, "QUERY_STRING": "" if "999" in path else "a=b"})
    assert response.status_code == 404
    [line] = records(log.getvalue())
    assert line["path"] == logged_path
    labels = client.get("/metrics").text
    assert "nowhere" not in labels
    assert 'route="none",status="404"' in labels


def test_the_path_of_a_405_is_logged_and_that_of_other_responses_is_not(client: FlaskClient) -> None:
    with logged() as log:
        client.delete(API + "/posts")
        client.get(API + "/posts?limit=0")
    assert [line.get("path") for line in records(log.getvalue())] == [API + "/posts", None]


def test_no_requests_are_logged_above_level_info(client: FlaskClient) -> None:
    with logged(level=logging.WARNING) as log:
        client.get("/health")
    assert log.getvalue() == ""


@BOTH
def test_both_formats_write_one_line_per_record(client: FlaskClient, formatter: logging.Formatter) -> None:
    with logged(formatter) as log:
        for _ in range(3):
            client.get("/health")
    assert len(log.getvalue().splitlines()) == 3
    if isinstance(formatter, TextFormatter):
        assert all(TEXT_LINE.fullmatch(line) for line in log.getvalue().splitlines())


@pytest.mark.parametrize(("log_format", "begins"), [("json", '{"time":'), ("text", "20")])
def test_lines_are_written_to_the_log_file(tmp_path: Path, log_format: str, begins: str) -> None:
    path = tmp_path / "gatepost.log"
    settings = settings_for(f"sqlite:///{tmp_path / 'x.db'}", log_file=str(path), log_format=log_format)
    create_app(settings).test_client().get("/health")
    logging.getLogger("gatepost").handlers[0].close()
    assert len(path.read_text().splitlines()) == 1
    assert path.read_text().startswith(begins)


ROTATING = """
import os, sys
from app.observability import logs
from tests.conftest import settings_for

path, children, lines = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
logs.LOG_FILE_BYTES, logs.LOG_FILES = 20_000, 500
logs.configure(settings_for("sqlite:////nowhere/x.db", log_file=path, log_format="json"))
logs.log.info("before the fork")
for child in range(children):
    if os.fork() == 0:
        for number in range(lines):
            logs.log.info("line", extra={"child": child, "number": number})
        os._exit(0)
for _ in range(children):
    assert os.wait()[1] == 0
"""


def test_processes_that_share_a_log_file_lose_no_line(tmp_path: Path) -> None:
    """Forked processes share a handler, as workers do, and two services write to the same file."""
    path, children, lines = tmp_path / "gatepost.log", 4, 400
    command = [sys.executable, "-c", ROTATING, str(path), str(children), str(lines)]
    services = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for service in services:
        _, errors = service.communicate(timeout=60)
        assert (service.returncode, errors) == (0, "")
    files = list(tmp_path.glob("gatepost.log*"))
    assert len(files) > 10
    assert all(file.stat().st_size < 21_000 for file in files)
    written = [line for file in files for line in records(file.read_text())]
    numbers = sorted((line["child"], line["number"]) for line in written if line["event"] == "line")
    assert numbers == sorted([(child, number) for child in range(children) for number in range(lines)] * 2)
    assert len(written) == len(numbers) + 2


def test_a_second_application_writes_no_second_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = settings_for(f"sqlite:///{tmp_path / 'x.db'}")
    create_app(settings)
    create_app(settings).test_client().get("/health")
    assert capsys.readouterr().out.count("gatepost.request") == 1


# Log injection


def check_lines(text: str, formatter: logging.Formatter, count: int) -> None:
    """Check that the log has `count` lines, all of them written by the application."""
    assert text.endswith("\n")
    # str.splitlines also splits at U+2028, NEL and form feeds, as some viewers do.
    lines = text.splitlines()
    assert len([line for line in lines if UNKNOWN_ORIGIN not in line]) == count, text
    for line in lines:
        assert line.isprintable()
        if isinstance(formatter, JsonFormatter):
            assert json.loads(line)["event"] in ("request", UNKNOWN_ORIGIN)
        else:
            assert TEXT_LINE.fullmatch(line)
            assert "\x1b" not in line


@BOTH
@pytest.mark.parametrize("injection", INJECTIONS, ids=ascii)
def test_no_header_path_or_method_adds_a_line(
    client: FlaskClient, alice: Person, formatter: logging.Formatter, injection: str
) -> None:
    raw = injection.encode().decode("latin-1")
    environ = {
        "HTTP_USER_AGENT": raw,
        "HTTP_X_REQUEST_ID": raw,
        "HTTP_AUTHORIZATION": raw,
        "HTTP_REFERER": raw,
        "HTTP_X_FORWARDED_FOR": raw,
        "HTTP_ORIGIN": raw.replace("\n", " ").replace("\r", " "),
        "HTTP_HOST": "localhost",
        "REMOTE_ADDR": raw,
        "QUERY_STRING": raw,
    }
    with logged(formatter) as log:
        client.get("/nowhere", environ_overrides=environ | {"PATH_INFO": "/" + raw})
        client.get(API + "/posts", environ_overrides=environ)
        client.open(API + "/posts", method="GET", environ_overrides=environ | {"REQUEST_METHOD": raw})
        client.post(API + "/auth/login", json={"email": injection, "password": injection}, environ_overrides=environ)
    check_lines(log.getvalue(), formatter, 4)
    if isinstance(formatter, TextFormatter) and injection.startswith("x status"):
        assert " method='X STATUS=200 USER_ID=1'" in log.getvalue()


@BOTH
def test_the_text_of_an_exception_adds_no_line(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, formatter: logging.Formatter
) -> None:
    forged = "2026-01-01T00:00:00.000Z INFO    gatepost.request forged"

    def fail(*_: object) -> None:
        raise RuntimeError(f"user wrote\n{forged}\r{forged}\u2028{forged}")

    monkeypatch.setattr("app.posts.service.list_posts", fail)
    with logged(formatter) as log:
        assert problem(client.get(API + "/posts"))[0] == 500
    for line in log.getvalue().splitlines():
        assert not line.startswith(forged)


# Unusual records


@pytest.mark.parametrize(
    ("text", "arguments"), [("%d pages", ("many",)), ("%s %s", ("one",)), ("%(page)s", ({"other": 1},))]
)
def test_a_wrong_log_call_is_one_line(text: str, arguments: tuple[object, ...]) -> None:
    record = logging.LogRecord("library", logging.WARNING, __file__, 1, text, arguments, None)
    assert json.loads(JsonFormatter().format(record))["event"] == f"{text} {record.args!r}"
    assert text in TextFormatter().format(record)


@BOTH
@pytest.mark.parametrize(
    "value", ["\ud800", 2**70, -(2**70), float("inf"), b"\xff", object, {"a": {1, 2}}, [("x",)], None, True], ids=repr
)
def test_a_record_with_an_unusual_value_is_written(formatter: logging.Formatter, value: object) -> None:
    text = formatter.format(record("what happened", odd=value))
    assert "what happened" in text
    if isinstance(formatter, JsonFormatter):
        assert json.loads(text)["event"] == "what happened"


@BOTH
@pytest.mark.parametrize("message", ["a\nb", "a\x1b[0mb", "a\u2028b", "100% {x}"])
def test_a_message_is_one_line(formatter: logging.Formatter, message: str) -> None:
    text = formatter.format(record(message))
    assert text.isprintable()
    assert len(text.splitlines()) == 1


def test_values_of_text_lines_are_quoted_if_ambiguous() -> None:
    line = TextFormatter().format(record("event", plain="a-b.c:1", spaced="a b", tricky="a=b", empty="", quote="'"))
    assert line.endswith("""plain=a-b.c:1 spaced='a b' tricky='a=b' empty='' quote="'\"""")


# Secrets


@pytest.mark.parametrize(
    ("text", "kept", "hidden"),
    [
        ("Authorization: Bearer abc.def", "Authorization", "abc.def"),
        ("authorization='Basic dXNlcjpwYXNz' next", "next", "dXNlcjpwYXNz"),
        ("{'Authorization': 'Basic dXNlcjpwYXNz', 'x': 1}", "'x': 1", "dXNlcjpwYXNz"),
        ("got bearer abcdefg, then", "then", "abcdefg"),
        ("token eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.c2ln end", "end", "eyJ"),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0. end", "end", "eyJ"),
        ("hash $argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA end", "end", "c2FsdA"),
        ("{'password': 'correct horse battery', 'email': 'a@b.c'}", "'email': 'a@b.c'", "horse"),
        ('{"new_password": "correct horse battery"}', "new_password", "horse"),
        ('b\'{"password":"correct horse"}\'', "password", "horse"),
        ("password=hunter2&x=1", "password", "hunter2"),
        ("PASSWORD: hunter2", "PASSWORD", "hunter2"),
        ("postgresql://user@host?password=hunter2", "postgresql", "hunter2"),
        ("JWT_SECRET_KEY, jwt_secret='s3cr3t value'", "jwt_secret", "s3cr3t"),
        ("refresh_token=opaque-value", "refresh_token", "opaque"),
        ("Set-Cookie: session=abc; Path=/\nnext", "next", "session=abc"),
    ],
)
def test_text_that_looks_like_a_secret_is_redacted(text: str, kept: str, hidden: str) -> None:
    result = redact(text)
    assert hidden not in result
    assert kept in result
    assert "[redacted]" in result


@pytest.mark.parametrize(
    "text", ["", "nothing here", "the password was changed", "token_expired", "a bearer of news", "key=1"]
)
def test_other_text_is_kept(text: str) -> None:
    assert redact(text) == text.replace("bearer of", "[redacted]")


@BOTH
def test_secrets_are_redacted_in_every_member_of_a_line(formatter: logging.Formatter) -> None:
    secret = "correct horse battery"
    try:
        raise ValueError({"password": secret})
    except ValueError as error:
        line = formatter.format(
            record(
                f"password='{secret}'",
                error=error,
                password=secret,
                body={"user": {"new_password": secret, "name": "kept"}},
                headers=[("Authorization", "x"), f"Authorization: {secret}"],
                raw=f'{{"password": "{secret}"}}'.encode(),
                text=f"password: '{secret}'",
            )
        )
    assert "horse" not in line
    assert "kept" in line
    if isinstance(formatter, JsonFormatter):
        assert json.loads(line)["body"] == {"user": {"new_password": "[redacted]", "name": "kept"}}


@BOTH
@pytest.mark.slow
def test_a_whole_run_leaves_no_secret_in_the_log(
    app: Flask, client: FlaskClient, formatter: logging.Formatter, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that succeed, fail and raise an exception, at level DEBUG, with the records of all loggers captured."""
    password, wrong, new = "purple monkey dishwasher", "wrong staple battery", "another long passphrase"
    seen: list[str] = [password, wrong, new]
    email = {"email": "dave@example.com"}

    def call(method: str, path: str, token: str = "", **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        answer = client.open(API + path, method=method, headers=headers | options.pop("headers", {}), **options)
        document = answer.get_json(silent=True) or {}
        seen.extend(document[name] for name in ("access_token", "refresh_token") if name in document)
        return document

    with logged(formatter) as log, all_loggers(formatter) as others:
        registered = call("POST", "/auth/register", json=email | {"name": "Dave", "password": password})
        call("POST", "/auth/register", json=email | {"name": "Dave", "password": password})
        call("POST", "/auth/register", json={"email": password, "name": wrong, "password": "short"})
        call("POST", "/auth/login", json=email | {"password": wrong})
        call("POST", "/auth/login", json=email | {"password": password, password: wrong})
        call("POST", "/auth/login", data=f'{{"password": "{password}"', content_type="application/json")
        call("POST", "/auth/login", data=f"password={password}")
        login = call("POST", "/auth/login", json=email | {"password": password})
        refreshed = call("POST", "/auth/refresh", login["refresh_token"])
        # The new token is used, so a lost response does not explain that the old one is sent again.
        call("GET", "/auth/me", refreshed["access_token"])
        clock.forward(minutes=1)
        replay = call("POST", "/auth/refresh", json={"refresh_token": login["refresh_token"]})
        assert replay["code"] == "token_revoked"
        access = registered["access_token"]
        call("GET", "/auth/me", access)
        call("GET", "/auth/me", access + "x")
        call("GET", "/auth/me", access.rpartition(".")[0])
        call("GET", "/auth/me", headers={"Authorization": "Basic " + base64.b64encode(password.encode()).decode()})
        call("GET", f"/auth/me?access_token={access}&password={password}", access)
        call("GET", f"/{access}/x", access)
        body = {"current_password": password, "new_password": new}
        call("POST", "/auth/password", access, json=body | {"current_password": wrong})
        call("POST", "/auth/password", access, json=body, headers={"X-Request-ID": access, "User-Agent": access})
        call("POST", "/posts", access, json={"title": "T", "content": "C"}, headers={"Idempotency-Key": access[:200]})

        def fail(*_: object, **members: object) -> None:
            raise RuntimeError(members, {"password": password}, f"Bearer {access}", access)

        monkeypatch.setattr("app.posts.service.create_post", fail)
        call("POST", "/posts", access, json={"title": "T", "content": "C"})
        call("POST", "/auth/logout", access)
    text = log.getvalue() + others()
    assert "RuntimeError" in text
    parts = {part for token in seen if token.startswith("eyJ") for part in (token, token.rpartition(".")[2])}
    for secret in (password, wrong, new, *parts, base64.b64encode(password.encode()).decode()):
        assert secret not in text
    assert not re.search(r"(?i)bearer +[a-z0-9]", text)
    assert "argon2" not in text


def all_loggers(formatter: logging.Formatter) -> Any:
    """Return a context that collects the messages of all other loggers of the process, without redaction."""
    from contextlib import contextmanager

    @contextmanager
    def capture() -> Iterator[Callable[[], str]]:
        root, lines = logging.getLogger(), []

        class Listener(logging.Handler):
            def emit(self, made: logging.LogRecord) -> None:
                lines.append(made.getMessage())

        listener, before = Listener(), root.level
        root.addHandler(listener)
        root.setLevel(logging.DEBUG)
        try:
            yield lambda: "\n".join(lines)
        finally:
            root.removeHandler(listener)
            root.setLevel(before)

    return capture()


def test_standard_attributes_of_records_are_not_written() -> None:
    line = json.loads(JsonFormatter().format(record()))
    assert line.keys() == {"time", "level", "logger", "event"}
    assert logs.LOG_FILES > 0
