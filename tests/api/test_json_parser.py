"""The strict parsers of JSON and query strings: the functions, and the routes that use them."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.api.errors import MalformedRequest, ValidationFailed
from app.api.json_parser import MAX_QUERY_PARAMETERS, parse_json, parse_query
from app.posts.models import Post
from gatepost.testing.rows import count_rows
from tests.conftest import API, Person, problem

JSON = "application/json"
GOOD = b'{"title": "T", "content": "C"}'


def nested(depth: int, opening: str = "[", closing: str = "]") -> bytes:
    """Return an array or object that is nested `depth` times."""
    return (opening * depth + closing * depth).encode()


NOT_JSON = [
    *(b"", b" ", b"{", b"}", b'{"a": 1', b'{"a": 1,}', b'{"a" 1}', b"{a: 1}", b"{'a': 1}", b'{"a": 01}', b'{"a": +1}'),
    *(b'{"a": .5}', b'{"a": 1.}', b'{"a": 0x10}', b'{"a": tru}', b'{"a": True}', b'{"a": None}', b'{"a": "\x00"}'),
    *(b'{"a": "\t"}', b'{"a": "line\nbreak"}', b'{"a": "\\x41"}', b'{"a": "\\u12"}', b'{"a": "open}', b'{"a": 1} x'),
    *(b'{"a": 1}{"b": 2}', b'{"a": 1}\x00', b"// comment\n{}", b'{"a": 1} // comment', b"a=1&b=2", b"<a/>", b"\x0b{}"),
    *(b"\xc2\xa0{}", b'{"a": 1\x1c}'),
]
NOT_UTF8 = [
    GOOD.decode().encode("utf-16"),
    GOOD.decode().encode("utf-16-le"),
    GOOD.decode().encode("utf-16-be"),
    GOOD.decode().encode("utf-32"),
    b'{"a": "\xff"}',
    b'{"a": "\xe9"}',
    b'{"a": "\xc0\xaf"}',
    b'{"a": "\xed\xa0\x80"}',
    b'{"a": "\xf4\x90\x80\x80"}',
    b'{"a": "\xe2\x82"}',
    b"\x80",
]
AMBIGUOUS = [
    *(b"\xef\xbb\xbf{}", b'{"a": 1, "a": 1}', b'{"a": 1, "b": {"c": 1, "c": 2}}'),
    *(b'{"a": [{"b": [{"c": 1, "\\u0063": 2}]}]}', b'{"\\ud800": 1, "\\ud800": 2}', b'{"a": NaN}', b'{"a": Infinity}'),
    *(b'{"a": -Infinity}', b'{"a": 1e999}', b'{"a": -1e999}', b'{"a": [1E+400]}', b"NaN", b"1e999"),
    *(b'{"a": ' + b"9" * 4301 + b"}", b'{"a": -' + b"9" * 4301 + b"}", b"9" * 100_000),
]
TOO_DEEP = [
    nested(65),
    nested(100_000),
    b"[" * 100_000,
    b'{"a":' * 65 + b"1" + b"}" * 65,
    b'{"a":[' * 33 + b"1" + b"]}" * 33,
    b'["]", "\\"", ' + nested(64) + b"]",
]


def short(data: object) -> str:
    """Return a short id for a test case."""
    return ascii(data)[:30]


# The functions


@pytest.mark.parametrize("data", NOT_JSON + NOT_UTF8 + AMBIGUOUS + TOO_DEEP, ids=short)
def test_invalid_json(data: bytes) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_json(data)
    assert len(caught.value.detail) < 100
    assert "decode" not in caught.value.detail


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"{}", {}),
        (b" \r\n\t{} \n", {}),
        (b"[]", []),
        (b"null", None),
        (b'"\\u00e9\\ud83d\\ude00"', "é😀"),
        ('"é😀\u2028"'.encode(), "é😀\u2028"),
        (b'"\\ud800"', "\ud800"),
        (b'"\\u0000\\/\\b"', "\x00/\b"),
        (b'{"a": 1, "A": 2, "": 3}', {"a": 1, "A": 2, "": 3}),
        (b'[{"a": 1}, {"a": 1}]', [{"a": 1}, {"a": 1}]),
        (b"1e308", 1e308),
        (b"1e-999", 0.0),
        (b"-0", 0),
        (b"9" * 4300, int("9" * 4300)),
        (b'"' + b"[" * 1000 + b'"', "[" * 1000),
        (b'"' + b'\\"[' * 1000 + b'"', '"[' * 1000),
        (b"[" + b"[]," * 1000 + b"[]]", [[]] * 1001),
    ],
    ids=short,
)
def test_valid_json(data: bytes, value: Any) -> None:
    assert parse_json(data) == value


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_ends_at_64(opening: str, closing: str) -> None:
    body = (opening * 63 + "{}" + closing * 63).encode()
    assert json.loads(body) == parse_json(body)
    with pytest.raises(MalformedRequest, match="64"):
        parse_json((opening * 64 + "{}" + closing * 64).encode())


@pytest.mark.parametrize(
    ("data", "detail"),
    [
        (b"\xff", "The body is not UTF-8."),
        (b'{\n "a" 1}', "The body is not JSON (line 2, column 6)."),
        (b'{"a": 1, "a": 2}', "The body has an object with a duplicate name."),
        (b"[NaN]", "The body is not JSON: NaN is not a value."),
        (b"[1e999]", "The body has a number that is too large."),
        (b"9" * 5000, "The body has an integer with too many digits."),
        (nested(65), "The body is nested more than 64 deep."),
    ],
    ids=short,
)
def test_the_detail_names_the_error(data: bytes, detail: str) -> None:
    with pytest.raises(MalformedRequest) as caught:
        parse_json(data)
    assert caught.value.detail == detail


@pytest.mark.parametrize("unit", [b'"', b'"\\', b'"[', b'["', b'{"a":"', b"[[[]]],", b'\\"', b'"\\"['], ids=short)
def test_a_hostile_body_of_a_mebibyte_takes_linear_time(unit: bytes) -> None:
    """A regular expression that backtracks over strings would take minutes for such a body."""
    import time

    data = unit * (1_048_576 // len(unit))
    started = time.process_time()
    with pytest.raises(MalformedRequest):
        parse_json(data)
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    ("data", "values"),
    [
        (b"", {}),
        (b"a=1&b=2", {"a": "1", "b": "2"}),
        (b"a=1;b=2", {"a": "1;b=2"}),
        (b"a=", {"a": ""}),
        (b"a", {"a": ""}),
        (b"&&a=1&", {"a": "1"}),
        (b"a=b=c", {"a": "b=c"}),
        (b"a+b=c+d", {"a b": "c d"}),
        (b"a%20b=%2B%00", {"a b": "+\x00"}),
        (b"%C3%A9=%F0%9F%98%80", {"é": "😀"}),
        (b"a=%zz%", {"a": "%zz%"}),
        (b"A=1&a=2", {"A": "1", "a": "2"}),
    ],
)
def test_query_strings(data: bytes, values: dict[str, str]) -> None:
    assert parse_query(data) == values


@pytest.mark.parametrize(
    "data", [b"a=%FF", b"%ED%A0%80=1", b"a=\xc3\xa9", b"&".join([b"a=1"] * (MAX_QUERY_PARAMETERS + 1))]
)
def test_malformed_query_strings(data: bytes) -> None:
    with pytest.raises(MalformedRequest):
        parse_query(data)


def test_a_repeated_parameter_is_reported_in_any_spelling() -> None:
    with pytest.raises(ValidationFailed) as caught:
        parse_query(b"a=1&%61=2&b=3&c=4&c=4&c=5")
    assert caught.value.errors == {"a": ["Given more than once."], "c": ["Given more than once."]}


# The routes


@pytest.fixture
def send(alice: Person) -> Any:
    """Return a function that sends bytes as the body of a new post by Alice."""

    def post(data: bytes, content_type: str | None = JSON, **headers: str) -> TestResponse:
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return alice.post("/posts", data=data, content_type=content_type, headers=fields)

    return post


@pytest.mark.parametrize("data", [*NOT_JSON[:4], *NOT_UTF8[:4], *AMBIGUOUS, *TOO_DEEP], ids=short)
def test_invalid_json_is_a_malformed_request(send: Any, app: Flask, data: bytes) -> None:
    assert problem(send(data)) == (400, "malformed_request")
    assert count_rows(app, Post) == 0


@pytest.mark.parametrize(
    "content_type",
    [
        *("application/json", "application/json; charset=utf-8", "application/json;charset=UTF-8"),
        *('application/json; charset="utf-8"', "Application/JSON", "APPLICATION/JSON; Charset=Utf-8"),
        *(" application/json ", "application/json;"),
    ],
)
def test_json_by_any_spelling(send: Any, content_type: str) -> None:
    assert send(GOOD, content_type).status_code == 201


@pytest.mark.parametrize(
    "content_type",
    [
        *(None, "", "text/json", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"),
        *("application/json; charset=utf-16", "application/json; charset=latin-1", "application/jsonx"),
        *("application/merge-patch+json", "application/problem+json", "application/json, text/plain", "json", "*/*"),
        *("application/json\x00", ";"),
    ],
    ids=repr,
)
def test_any_other_type_is_unsupported(send: Any, app: Flask, content_type: str | None) -> None:
    response = send(GOOD, content_type)
    assert problem(response) == (415, "unsupported_media_type")
    assert response.headers["Accept"] == JSON
    assert count_rows(app, Post) == 0


@pytest.mark.parametrize(
    ("coding", "status"),
    [("identity", 201), ("IDENTITY", 201), ("", 201), ("gzip", 415), ("identity, gzip", 415), ("br", 415), ("x", 415)],
)
def test_content_codings(send: Any, coding: str, status: int) -> None:
    assert send(GOOD, Content_Encoding=coding).status_code == status


def test_a_body_too_large(app: Flask, alice: Person, client: FlaskClient) -> None:
    limit = app.config["MAX_CONTENT_LENGTH"]
    body = b'{"title": "T", "content": "C"' + b" " * limit + b"}"
    assert problem(alice.post("/posts", data=body, content_type=JSON)) == (413, "payload_too_large")
    assert problem(client.post(API + "/posts", data=body, content_type=JSON)) == (401, "authentication_required")
    fits = GOOD[:-1] + b" " * (limit - len(GOOD)) + b"}"
    assert len(fits) == limit
    assert alice.post("/posts", data=fits, content_type=JSON).status_code == 201


@pytest.mark.parametrize("is_terminated", [False, True], ids=["by length", "by the server"])
def test_a_body_shorter_than_its_length_is_malformed(alice: Person, app: Flask, is_terminated: bool) -> None:
    """Some servers end the stream when the client disconnects, and pass on what had arrived."""
    environ: dict[str, Any] = {"CONTENT_LENGTH": str(len(GOOD) + 1), "wsgi.input_terminated": is_terminated}
    response = alice.post("/posts", data=GOOD, content_type=JSON, environ_overrides=environ)
    assert problem(response) == (400, "malformed_request")
    assert count_rows(app, Post) == 0


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [(JSON, (201, None)), ("text/plain", (415, "unsupported_media_type"))],
)
def test_a_body_without_a_length(alice: Person, content_type: str, expected: tuple[int, str | None]) -> None:
    """A chunked body, as WSGI servers pass it on."""
    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    response = alice.post("/posts", data=GOOD, content_type=content_type, environ_overrides=environ)
    assert response.status_code == expected[0]
    assert response.get_json().get("code") == expected[1]


class BrokenStream(BytesIO):
    """A body in which the server finds an invalid chunk. Servers raise exceptions of their own classes then."""

    error = Exception("invalid chunk size")

    def read(self, size: int | None = -1, /) -> bytes:
        raise self.error


@pytest.mark.parametrize("error", [Exception("hush"), OSError("hush"), ValueError("hush")], ids=repr)
def test_a_body_with_invalid_chunks_is_malformed(
    alice: Person, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(BrokenStream, "error", error)
    environ = {
        "HTTP_TRANSFER_ENCODING": "chunked",
        "wsgi.input_terminated": True,
        "CONTENT_LENGTH": "",
        "wsgi.input": BrokenStream(),
    }
    response = alice.post("/posts", content_type=JSON, environ_overrides=environ)
    assert problem(response) == (400, "malformed_request")
    assert "hush" not in response.text


@pytest.mark.parametrize(("content_type", "status"), [(JSON, 400), ("text/plain", 400), ("", 400)])
def test_an_empty_chunked_body_is_no_body(alice: Person, content_type: str, status: int) -> None:
    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    response = alice.post("/posts", data=b"", content_type=content_type, environ_overrides=environ)
    assert problem(response) == (status, "malformed_request")


@pytest.mark.parametrize("content_type", [None, JSON, "text/plain"])
def test_a_missing_body_is_malformed(send: Any, content_type: str | None) -> None:
    assert problem(send(b"", content_type)) == (400, "malformed_request")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_the_body_of_a_get_is_ignored(client: FlaskClient, app: Flask, method: str) -> None:
    response = client.open(API + "/posts", method=method, data=b"{", content_type=JSON)
    assert response.status_code in (200, 204)


@pytest.mark.parametrize(
    ("body", "errors"),
    [
        (rb'{"title": "\ud800", "content": "C"}', {"title": ["Must not have control characters."]}),
        (rb'{"title": "a\udfffb", "content": "C"}', {"title": ["Must not have control characters."]}),
        (rb'{"title": "T", "content": "\ude00\ud83d"}', {"content": ["Must not have control characters."]}),
        (rb'{"title": "T", "content": "C", "\ud800": 1}', {"\ud800": ["Unknown field."]}),
        (rb'{"title": "T", "content": "C", "\u0000": 1}', {"\x00": ["Unknown field."]}),
        (rb'{"title": "T", "content": "C", "": 1}', {"": ["Unknown field."]}),
        (rb'{"title": "T", "content": "C", "__class__": 1}', {"__class__": ["Unknown field."]}),
        (rb'{"title": "T", "content": "C", "_schema": 1}', {"_schema": ["Unknown field."]}),
        (rb'{"title": "T", "content": "C", "a.b": {"c": [1]}}', {"a.b": ["Unknown field."]}),
        (rb'{"title": {"a": ["\ud800"]}, "content": "C"}', {"title": ["Must be a string."]}),
        (rb'{"title": 1e5, "content": "C"}', {"title": ["Must be a string."]}),
        (b'{"title": ' + b"9" * 4300 + b', "content": "C"}', {"title": ["Must be a string."]}),
        (rb'{"title": "T", "content": "C", "status": "\ud800"}', {"status": ["Must be one of: draft, published."]}),
        (rb'{"title": "T", "content": "C", "status": "{}"}', {"status": ["Must be one of: draft, published."]}),
    ],
    ids=short,
)
def test_unusual_values_and_names_are_reported(send: Any, app: Flask, body: bytes, errors: dict[str, Any]) -> None:
    response = send(body)
    assert problem(response) == (422, "validation_error")
    assert json.loads(response.data)["errors"] == errors
    response.data.decode("utf-8")
    assert count_rows(app, Post) == 0


@pytest.mark.parametrize(
    ("spare", "status"), [(0, 201), (-1, 413), (-100_000, 413)], ids=["exactly the limit", "one more", "far more"]
)
@pytest.mark.parametrize("filler", [b" ", b"x"])
def test_a_chunked_body_over_the_limit_is_refused_and_not_truncated(
    alice: Person, app: Flask, spare: int, status: int, filler: bytes
) -> None:
    limit = app.config["MAX_CONTENT_LENGTH"]
    data = GOOD + b" " * (limit - len(GOOD)) + filler * -spare
    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}
    response = alice.post("/posts", data=data, content_type=JSON, environ_overrides=environ)
    assert response.status_code == status
    assert count_rows(app, Post) == (status == 201)
