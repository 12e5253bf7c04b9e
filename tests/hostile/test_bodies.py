"""Abuse of JSON, Unicode and HTTP framing: input that parsers interpret differently is refused."""

from __future__ import annotations

import gzip
import json
import zlib

from tests.conftest import API
from tests.hostile.cases import JSON, Case, ask, check, table
from tests.hostile.target import Target, message

BAD, INVALID, MEDIA, LARGE = (
    (400, "malformed_request"),
    (422, "validation_error"),
    (415, "unsupported_media_type"),
    (413, "payload_too_large"),
)
GOOD = '{"title": "T", "content": "C"}'
MIB = 1_048_576


def post(name: str, body: str | bytes, expected: tuple[int, str], **options: object) -> Case:
    """Return the body of a new post by Bob."""
    return ask(name, "POST /posts", *expected, user="bob", body=body, **options)  # type: ignore[arg-type]


def titled(name: str, title: str, expected: tuple[int, str] = INVALID) -> Case:
    """Return a case of a new post with this JSON text as its title."""
    return post(name, f'{{"content": "C", "title": {title}}}'.encode("utf-8", "surrogatepass"), expected)


NOT_JSON = [
    post("garbage", b"\x00\x01\x02", BAD),
    post("two lines of JSON", GOOD + "\n" + GOOD, BAD),
    post("leading NUL", "\x00" + GOOD, BAD),
    post("trailing form feed", GOOD + "\x0c", BAD),
    post("comment", "/**/" + GOOD, BAD),
    post("JSONP", f"callback({GOOD})", BAD),
    post("XSSI prefix", ")]}'\n" + GOOD, BAD),
    post("XML", "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>", BAD),
    post("YAML", "title: T\ncontent: C", BAD),
    post("pickle", b"cos\nsystem\n(S'id'\ntR.", BAD),
    post("unknown name twice", '{"title": "T", "content": "C", "x": 1, "x": 2}', BAD),
    titled("-NaN", "-NaN", BAD),
    titled("octal", "0o7", BAD),
    titled("underscore", "1_000", BAD),
    titled("Arabic digits", "١", BAD),
    titled("full-width digits", "１", BAD),
    titled("true in upper case", "TRUE", BAD),
    titled("undefined", "undefined", BAD),
    titled("full-width hex escape", '"\\u００41"', BAD),
    post("lists 500,000 deep, open", "[" * 500_000, BAD),
    post("mixed brackets", "[{" * 5_000, BAD),
    post("unclosed quotes", '"' * 200_001, BAD),
    post("UTF-7", "+AHs-+AH0-", BAD),
    post("EBCDIC", GOOD.encode("cp500"), BAD),
    post("overlong NUL", b'{"title": "\xc0\x80", "content": "C"}', BAD),
    post("CESU-8", b'{"title": "\xed\xa0\xbd\xed\xb8\x80", "content": "C"}', BAD),
    post("bad byte after the document", GOOD.encode() + b"\xff", BAD),
]
VALUES = [
    titled("minus zero for text", "-0"),
    titled("object for text", '{"$ne": ""}'),
    titled("object with toString", '{"toString": "x"}'),
    titled("number past 64 bits", str(2**64)),
    titled("tiny float", "1e-400"),
    titled("escape character", '"\\u001b[2J"'),
    titled("a million letters", json.dumps("x" * 1_000_000)),
    post("status a list", '{"title": "T", "content": "C", "status": ["draft"]}', INVALID),
    post("status with NUL", '{"title": "T", "content": "C", "status": "draft\\u0000"}', INVALID),
]
NAMES = [
    post("__proto__", '{"title": "T", "content": "C", "__proto__": {"is_admin": true}}', INVALID),
    post("constructor", '{"title": "T", "content": "C", "constructor": {"prototype": {"x": 1}}}', INVALID),
    post("name in upper case", '{"TITLE": "T", "title": "T", "content": "C"}', INVALID),
    post("look-alike name", '{"tіtle": "X", "title": "T", "content": "C"}', INVALID),
    post("full-width name", '{"ｔｉｔｌｅ": "X", "title": "T", "content": "C"}', INVALID),
    post("name with newline", '{"title\\n": "X", "title": "T", "content": "C"}', INVALID),
    post("bracketed name", '{"author[id]": 3, "title": "T", "content": "C"}', INVALID),
    post("$where", '{"$where": "sleep(1)", "title": "T", "content": "C"}', INVALID),
    post("a name of 100 kB", f'{{"{"n" * 100_000}": 1, "title": "T", "content": "C"}}', INVALID),
    post("10,000 names", json.dumps({f"n{i}": i for i in range(10_000)}), INVALID),
    post("@type", '{"@type": "java.lang.Class", "title": "T", "content": "C"}', INVALID),
]


def media(name: str, content_type: str, expected: tuple[int, str] = MEDIA, **headers: str) -> Case:
    """Return a case of a valid body with another media type or coding."""
    fields = [("Content-Type", content_type), *((n.replace("_", "-"), v) for n, v in headers.items())]
    return ask(name, "POST /posts", *expected, user="bob", body=GOOD, headers=fields)


MEDIA_TYPES = [
    media("multipart without boundary", "multipart/form-data"),
    media("application/xml", "application/xml"),
    media("application/jsonp", "application/jsonp"),
    media("application/json5", "application/json5"),
    media("JSON patch", "application/json-patch+json"),
    media("text first", "text/plain, application/json"),
    media("as a parameter", "text/plain; a=application/json"),
    media("charset unknown", "application/json; charset=x-none"),
    media("charset UTF-7", "application/json; charset=utf-7"),
    media("look-alike media type", "applicatiоn/json".encode().decode("latin-1")),
]


def coded(name: str, coding: str, body: bytes) -> Case:
    """Return a case of a compressed body."""
    return post(name, body, MEDIA, headers=[("Content-Encoding", coding)])


CODINGS = [
    coded("gzip in upper case", "GZIP", gzip.compress(GOOD.encode())),
    coded("deflate", "deflate", zlib.compress(GOOD.encode())),
    coded("a bomb of 100 MB", "gzip", gzip.compress(bytes(100_000_000))),
    coded("gzip twice", "gzip, gzip", gzip.compress(gzip.compress(GOOD.encode()))),
    coded("br", "br", b"\x0b\x02\x80{}\x03"),
]


@table(NOT_JSON)
def test_a_body_that_is_not_strict_json(target: Target, case: Case) -> None:
    check(target, case)


@table([*VALUES, *NAMES])
def test_a_body_of_other_values(target: Target, case: Case) -> None:
    check(target, case)


@table([*MEDIA_TYPES, *CODINGS])
def test_a_body_of_another_media_type(target: Target, case: Case) -> None:
    check(target, case)


def framed(name: str, headers: list[tuple[str, str]], body: bytes, expected: tuple[int, str]) -> Case:
    """Return a case of Bob's post with other framing: these headers and these bytes."""

    def build(target: Target) -> bytes:
        fields = [("Authorization", f"Bearer {target.people['bob'].access}"), ("Content-Type", JSON), *headers]
        return message("POST", f"{API}/posts", fields, body)

    return Case(name, *expected, build)


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """Return a chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


CHUNKED = ("Transfer-Encoding", "chunked")
BODY = GOOD.encode()
SMUGGLED = b"DELETE /api/v1/posts/1 HTTP/1.1\r\nHost: h\r\n\r\n"
FRAMES = [
    # None of these sends its complete body: the response must not wait for the rest.
    framed("2 MiB announced", [("Content-Length", str(2 * MIB))], BODY, LARGE),
    framed("one byte over", [("Content-Length", str(MIB + 1))], BODY, LARGE),
    framed("an exbibyte announced", [("Content-Length", str(2**60))], BODY, LARGE),
    framed("2^64 announced", [("Content-Length", str(2**64))], BODY, LARGE),
    framed("2 MiB in chunks, no end", [CHUNKED], chunks(*[b" " * 65_536] * 32, end=b""), LARGE),
    framed("a chunk of a gibibyte announced", [CHUNKED], b"40000000\r\n" + b" " * (MIB + 70_000), LARGE),
    framed("chunk size past 64 bits", [CHUNKED], b"1" + b"0" * 16 + b"\r\n" + b" " * (MIB + 70_000), LARGE),
    framed("length a word", [("Content-Length", "many")], BODY, BAD),
    framed("length empty", [("Content-Length", "")], BODY, BAD),
    framed("length negative", [("Content-Length", "-1")], BODY, BAD),
    framed("length signed", [("Content-Length", "+30")], BODY, BAD),
    framed("length in hex", [("Content-Length", "0x1e")], BODY, BAD),
    framed("length a float", [("Content-Length", "30.0")], BODY, BAD),
    framed("length with exponent", [("Content-Length", "3e1")], BODY, BAD),
    framed("length a list", [("Content-Length", "30, 30")], BODY, BAD),
    framed("length twice", [("Content-Length", "30"), ("Content-Length", "30")], BODY, BAD),
    framed("two lengths", [("Content-Length", "30"), ("Content-Length", "2")], BODY, BAD),
    framed("length in other digits", [("Content-Length", "\xb3")], BODY, BAD),
    framed("length with space inside", [("Content-Length", "3 0")], BODY, BAD),
    framed("length of 5,000 digits", [("Content-Length", "9" * 5000)], BODY, BAD),
    framed("length cuts the body", [("Content-Length", "10")], BODY, BAD),
    framed("length and chunks", [("Content-Length", "30"), CHUNKED], chunks(BODY), BAD),
    framed("chunks and length", [CHUNKED, ("Content-Length", "30")], chunks(BODY), BAD),
    framed("smuggled by length", [("Content-Length", "4"), CHUNKED], b"0\r\n\r\n" + SMUGGLED, BAD),
    framed("chunks twice", [CHUNKED, CHUNKED], chunks(BODY), BAD),
    framed("chunked, chunked", [("Transfer-Encoding", "chunked, chunked")], chunks(BODY), BAD),
    framed("gzip, chunked", [("Transfer-Encoding", "gzip, chunked")], chunks(BODY), BAD),
    framed("chunked, identity", [("Transfer-Encoding", "chunked, identity")], chunks(BODY), BAD),
    framed("identity", [("Transfer-Encoding", "identity")], BODY, BAD),
    framed("xchunked", [("Transfer-Encoding", "xchunked")], chunks(BODY), BAD),
    framed("chunked in quotes", [("Transfer-Encoding", '"chunked"')], chunks(BODY), BAD),
    framed("chunked with tab inside", [("Transfer-Encoding", "chun\tked")], chunks(BODY), BAD),
    framed("chunked after vertical tab", [("Transfer-Encoding", "\x0bchunked")], chunks(BODY), BAD),
    framed("space before the colon", [("Transfer-Encoding ", "chunked")], chunks(BODY), BAD),
    framed("coding on a folded line", [("Transfer-Encoding", "\r\n chunked")], chunks(BODY), BAD),
    framed("folded field", [("X-Long", "a\r\n b"), CHUNKED], chunks(BODY), BAD),
    framed("chunk size not hex", [CHUNKED], b"zz\r\n{}\r\n0\r\n\r\n", BAD),
    framed("chunk size negative", [CHUNKED], b"-2\r\n{}\r\n0\r\n\r\n", BAD),
    framed("chunk size signed", [CHUNKED], b"+2\r\n{}\r\n0\r\n\r\n", BAD),
    framed("chunk size with 0x", [CHUNKED], b"0x2\r\n{}\r\n0\r\n\r\n", BAD),
    framed("chunk size with underscore", [CHUNKED], b"0_2\r\n{}\r\n0\r\n\r\n", BAD),
    framed("chunk size empty", [CHUNKED], b"\r\n{}\r\n0\r\n\r\n", BAD),
    framed("chunk longer than said", [CHUNKED], b"1\r\n{}\r\n0\r\n\r\n", BAD),
    framed("bare LF between chunks", [CHUNKED], b"2\n{}\r\n0\r\n\r\n", BAD),
    framed("bare LF in a chunk extension", [CHUNKED], b"2;a\nb\r\n{}\r\n0\r\n\r\n", BAD),
    framed("length in the trailer", [CHUNKED], chunks(BODY, end=b"0\r\nContent-Length: 1\r\n\r\n"), BAD),
    framed("Authorization in the trailer", [CHUNKED], chunks(BODY, end=b"0\r\nAuthorization: Bearer x\r\n\r\n"), BAD),
    framed("expectation of another kind", [("Expect", "200-ok"), ("Content-Length", "30")], BODY, BAD),
    framed("deflated by transfer", [("Transfer-Encoding", "deflate")], zlib.compress(BODY), BAD),
]


@table(FRAMES)
def test_a_body_with_false_framing(target: Target, case: Case) -> None:
    check(target, case)


def test_a_request_behind_a_refused_one_is_not_served(target: Target) -> None:
    """Request smuggling: a second request behind one with false framing must not be carried out."""
    head = [("Authorization", f"Bearer {target.alice.access}"), ("Connection", "keep-alive")]
    first = message("POST", f"{API}/posts", [*head, ("Content-Length", "4"), CHUNKED], b"0\r\n\r\n")
    second = message("DELETE", f"{API}/posts/1", head)
    assert target.send(first + second).status == 400
    assert target.is_whole()


GOOD_BODIES = [
    post("chunked in upper case", chunks(BODY), (201, ""), headers=[("Transfer-Encoding", "CHUNKED")]),
    post("one MiB", GOOD[:-1] + " " * (MIB - len(GOOD)) + "}", (201, "")),
    titled("an emoji of two surrogates", '"\\ud83d\\ude00"', (201, "")),
    titled("markup", '"<script>alert(1)</script>"', (201, "")),
    titled("SQL", '"\'); DROP TABLE users; --"', (201, "")),
    titled("template", '"{{7*7}} ${7*7} %s %(x)s"', (201, "")),
    titled("zero width", '"a\\u200bb"', (201, "")),
]


@table(GOOD_BODIES)
def test_an_unusual_body_that_is_valid(target: Target, case: Case) -> None:
    """Control cases: the cases above are refused only for their one error. Markup is stored as sent."""
    answer = check(target, case)
    if case.name in ("markup", "SQL", "template"):
        sent = json.loads(case.build(target).partition(b"\r\n\r\n")[2])
        assert answer.json()["title"] == sent["title"]
    assert answer.headers.get_content_type() == JSON
