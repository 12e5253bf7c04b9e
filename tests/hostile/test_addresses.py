"""Hostile request lines and headers: paths, queries, methods, hosts, request ids, and line ends in any of them."""

from __future__ import annotations

import re

from tests.conftest import API
from tests.hostile.cases import Case, ask, check, raw, table
from tests.hostile.target import ORIGIN, Target, message

NOWHERE, BAD, INVALID, LONG = (
    (404, "not_found"),
    (400, "malformed_request"),
    (422, "validation_error"),
    (414, "uri_too_long"),
)
SERVED = (200, "")

# Texts in place of an id; tests/posts/test_get_post.py has more.
IDS = (
    *("-0", "0x1", "1_", "null", "NaN", "9" * 300, "1%00", "1%0a", "%091", "1%20OR%201=1", "1--", "1%27", "%25s"),
    *("%25", "1%20UNION%20SELECT%201", "%7B%7B7*7%7D%7D", "*", "1,2", "%7B%22$ne%22:0%7D", "1;a=b", "1%2F2", "1%5C2"),
    *("1.json", "%C0%B1", "%FF", "1%", "%zz", "%2531", "1%0d%0aX-Evil:%201", "%001", "1%E2%80%8B"),
)
PATHS = [
    *(ask(f"post {text[:25]}", f"GET /posts/{text}", *NOWHERE) for text in IDS),
    *(ask(f"user {text[:25]}", f"DELETE /users/{text}", *NOWHERE, user="carol") for text in IDS),
    *(ask(f"session {text[:25]}", f"DELETE /auth/sessions/{text}", *NOWHERE, user="alice") for text in IDS),
    raw("two slashes first", message("GET", f"/{API}/posts"), *NOWHERE),
    ask("upper case", "GET //API/V1/POSTS", *NOWHERE),
    ask("dot segment", "GET //api/v1/./posts", *NOWHERE),
    ask("two dots", "GET //api/v1/posts/../posts", *NOWHERE),
    ask("two dots to a route of administrators", "GET //api/v1/posts/../service-context", *NOWHERE),
    ask("two dots, encoded", "GET //api/v1/posts/%2e%2e/service-context", *NOWHERE),
    ask("two dots, encoded twice", "GET //api/v1/posts/%252e%252e/service-context", *NOWHERE),
    ask("two dots, overlong", "GET //api/v1/posts/%c0%ae%c0%ae/service-context", *NOWHERE),
    ask("up to a file", "GET //../../../../etc/passwd", *NOWHERE),
    ask("up to a file, encoded", "GET //%2e%2e/%2e%2e/%2e%2e/etc/passwd", *NOWHERE),
    ask("up to a file, backslashes", "GET //..%5c..%5c..%5cetc%5cpasswd", *NOWHERE),
    ask("a file", "GET //.env", *NOWHERE),
    ask("the repository", "GET //.git/config", *NOWHERE),
    ask("static files", "GET //static/../run.py", *NOWHERE),
    ask("the debugger", "GET //console", *NOWHERE),
    ask("the debugger by query", "GET //?__debugger__=yes&cmd=resource&f=debugger.js", 422, "validation_error"),
    ask("an actuator", "GET //actuator/env", *NOWHERE),
    ask("a problem that is a path", "GET //problems/..%2f..%2fetc%2fpasswd", *NOWHERE),
    ask("a problem that is a template", "GET //problems/%7B%7Bconfig%7D%7D", *NOWHERE),
    ask("semicolon after the route", "GET //api/v1/posts;jsessionid=1", *NOWHERE),
    ask("extension", "GET //api/v1/posts.json", *NOWHERE),
    ask("NUL after the route", "GET //api/v1/posts%00", *NOWHERE),
    ask("newline after the route", "GET //api/v1/posts%0a", *NOWHERE),
    ask("space after the route", "GET //api/v1/posts%20", *NOWHERE),
    ask("encoded slashes name the same route", "GET //api%2fv1%2fposts", *SERVED),
    ask("and are guarded as it is", "GET //api%2fv1%2fservice-context", 401, "authentication_required"),
    ask("another version", "GET //api/v2/posts", *NOWHERE),
    ask("no version", "GET //posts", *NOWHERE),
    ask("encoded letters name the same route", "GET //api/v1/%70osts", *SERVED),
    ask("9 kB path", f"GET //{'a' * 9000}", *LONG),
    ask("9 kB of slashes", f"GET //{'/' * 9000}", *LONG),
    ask("3,000 segments", f"GET //{'a/' * 3000}", *NOWHERE),
    ask("8 kB of escapes", f"GET //{'%41' * 2600}", *NOWHERE),
]

QUERIES = [
    ask("page and limit overflow", f"GET /posts?page={2**62}&limit=100", *INVALID),
    ask("sort by attribute", "GET /posts?sort=__class__", *INVALID),
    ask("status of a list", "GET /posts?status[]=draft", *INVALID),
    ask("filter with an operator", "GET /users?email[$ne]=x", *INVALID, user="carol"),
    ask("prototype parameter", "GET /posts?__proto__[x]=1", *INVALID),
    ask("limit twice, encoded", "GET /posts?limit=1&l%69mit=2", *INVALID),
    ask("limit as a list", "GET /posts?limit[]=1", *INVALID),
    *(ask("semicolon between", "GET /posts?limit=1;page=1", *INVALID), ask("not UTF-8", "GET /posts?limit=%FF", *BAD)),
    *(ask("overlong", "GET /posts?limit=%C0%B1", *BAD), ask("not UTF-8 in a name", "GET /posts?%FF=1", *BAD)),
    ask("3,000 empty parameters", "GET /posts?" + "&" * 3000, *BAD),
    ask("9 kB query", f"GET /posts?limit={'1' * 9000}", *LONG),
    ask("10 MB query", f"GET /posts?limit={'1' * 10_000_000}", *LONG),
    ask("callback", "GET /posts?callback=alert", *INVALID),
    ask("method by query", "GET /posts/1?_method=DELETE", *INVALID, user="alice"),
    ask("redirect", "GET /posts?next=https://evil.example", *INVALID),
]


@table(PATHS)
def test_an_unknown_path(target: Target, case: Case) -> None:
    check(target, case)


@table(QUERIES)
def test_an_invalid_query(target: Target, case: Case) -> None:
    check(target, case)


NOT_ALLOWED = (405, "method_not_allowed")
METHODS = [
    *(ask(method, f"{method} /posts/1", *NOT_ALLOWED, user="alice") for method in ("TRACE", "CONNECT", "POST", "COPY")),
    *(ask(f"{m} of WebDAV", f"{m} /posts", *NOT_ALLOWED) for m in ("PROPFIND", "MKCOL", "MOVE", "LOCK", "SEARCH")),
    *(
        ask(f"invented {m}", f"{m} /posts", *NOT_ALLOWED)
        for m in ("BREW", "PURGE", "DEBUG", "TRACK", "X" * 20, "QUERY")
    ),
    *(
        ask(f"malformed {m!r}", f"{m} /posts", *BAD)
        for m in ("get", "Get", "GE[T", "", "G\xcbT", "GET\x00", "\x00", "G\tT")
    ),
    ask("long method", "X" * 100 + " /posts", *BAD),
    ask("TRACE at the root", "TRACE //", *NOT_ALLOWED),
    ask("PUT of a list", "PUT /posts", *NOT_ALLOWED, user="alice"),
    ask("DELETE of a list", "DELETE /posts", *NOT_ALLOWED, user="carol"),
    ask("GET of a login", "GET /auth/login?email=a&password=b", *NOT_ALLOWED),
    ask("GET of a logout", "GET /auth/logout", *NOT_ALLOWED, user="alice"),
    ask("PATCH of the probe", "PATCH //health", *NOT_ALLOWED),
]
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method")
REWRITES = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Script-Name", "SCRIPT_NAME", "Base-Url")
METHODS += [
    *(ask(name, "GET /posts/1", *SERVED, user="alice", headers=[(name, "DELETE")]) for name in OVERRIDES),
    *(ask(f"POST with {n}", "POST /posts/1", *NOT_ALLOWED, user="alice", headers=[(n, "DELETE")]) for n in OVERRIDES),
    *(ask(name, "GET /posts", *SERVED, headers=[(name, "/api/v1/service-context")]) for name in REWRITES),
    raw("PRI", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", *BAD),
    raw("upgrade to h2c", message("GET", f"{API}/posts", {"Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}), *SERVED),
    raw("HTTP/0.9", b"GET /api/v1/posts\r\n\r\n", *BAD),
    raw("HTTP/3", b"GET /api/v1/posts HTTP/3\r\nHost: h\r\n\r\n", *BAD),
    raw("version of two digits", b"GET /api/v1/posts HTTP/1.11\r\nHost: h\r\n\r\n", *BAD),
    raw("two spaces", b"GET  /api/v1/posts HTTP/1.1\r\nHost: h\r\n\r\n", *BAD),
    raw("tab for space", b"GET\t/api/v1/posts\tHTTP/1.1\r\nHost: h\r\n\r\n", *BAD),
    raw("raw NUL in the path", b"GET /api/v1/posts\x00 HTTP/1.1\r\nHost: h\r\n\r\n", *BAD),
    raw("raw byte in the path", b"GET /api/v1/p\xf6sts HTTP/1.1\r\nHost: h\r\n\r\n", *BAD),
    raw("fragment", message("GET", f"{API}/posts#x"), *SERVED),
    raw("101 fields", message("GET", f"{API}/posts", [(f"X-{n}", "1") for n in range(101)]), 431, "headers_too_large"),
    raw("9 kB field", message("GET", f"{API}/posts", {"X": "a" * 9000}), 431, "headers_too_large"),
    raw("endless name", message("GET", f"{API}/posts", {"X" * 90_000: "1"}), 431, "headers_too_large"),
    raw("control in a field", message("GET", f"{API}/posts", {"X": "a\x1b[2Jb"}), *BAD),
    raw("name of a look-alike", message("GET", f"{API}/posts", {"Auth\xf6r": "x"}), *BAD),
]


@table(METHODS)
def test_a_method_or_message_of_another_kind(target: Target, case: Case) -> None:
    answer = check(target, case)
    if answer.status == 405:
        assert answer.headers["Allow"]


HOSTS = (
    *("evil.example", "evil.example/x", "api.example.com@evil.example", "evil.example:99999", "h:port", "<script>", ""),
    *('h"x', "127.0.0.1:1", "169.254.169.254", "[::1", "a b", "..", "%00", "b\xfccher.example", "a.example, b.example"),
    *("h" * 4000, "{{7*7}}", "' OR 1=1 --", "https://evil.example", "null"),
)
FORWARDED = {
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "1",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-For": "6.6.6.6",
    "Forwarded": "for=6.6.6.6;host=evil.example;proto=https",
    "X-Host": "evil.example",
    "X-Real-IP": "6.6.6.6",
}


def test_no_host_is_copied_to_a_response(target: Target) -> None:
    """A forged Host must not get into Link, Location or a body, where caches and emails would spread it."""
    for host in HOSTS:
        answer = target.send(message("GET", f"{API}/posts?page=1&limit=1", {"Host": host}))
        assert answer.status in (200, 400), host
        said = (str(answer.headers).encode() + answer.body).lower()
        assert b"evil" not in said, host
        if answer.status == 200:
            assert answer.headers["Link"].startswith("</api/v1/"), host


def test_no_forwarding_header_is_trusted(target: Target) -> None:
    """With TRUSTED_PROXIES=0 there is no proxy, so these headers are forged."""
    for name, value in FORWARDED.items():
        answer = target.send(message("GET", f"{API}/posts?page=1&limit=1", {name: value}))
        assert answer.status == 200, name
        said = (str(answer.headers).encode() + answer.body).lower()
        assert b"evil" not in said, name
        assert b"https:" not in said, name


ABSOLUTE = [
    raw("another host", message("GET", "http://evil.example/api/v1/posts?page=1"), *SERVED),
    raw(
        "userinfo",
        message("GET", "http://carol:x@api.example.com/api/v1/service-context"),
        401,
        "authentication_required",
    ),
    raw("gopher", message("GET", "gopher://127.0.0.1:6379/_FLUSHALL"), *NOWHERE),
    raw("a file", message("GET", "file:///etc/passwd"), *NOWHERE),
    raw("cloud metadata", message("GET", "http://169.254.169.254/latest/meta-data/"), *NOWHERE),
    raw("two hosts", message("GET", f"{API}/posts", [("Host", "a"), ("Host", "b")]), *BAD),
]


@table(ABSOLUTE)
def test_an_absolute_target_is_not_followed(target: Target, case: Case) -> None:
    answer = check(target, case)
    assert b"evil" not in str(answer.headers).encode() + answer.body


def test_two_origins_are_refused(target: Target) -> None:
    answer = target.send(message("GET", f"{API}/posts", [("Origin", ORIGIN), ("Origin", "https://evil.example")]))
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_an_invalid_request_id_is_replaced(target: Target) -> None:
    for sent in ("", " ", "x" * 129, "x" * 8000, "\xe9", "\xff", "a\tb"):
        answer = target.send(message("GET", f"{API}/posts/99", {"X-Request-ID": sent}))
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"]), sent
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    doubled = target.send(message("GET", f"{API}/posts/99", [("X-Request-ID", "one"), ("X-Request-ID", "two")]))
    assert re.fullmatch("[0-9a-f]{32}", doubled.headers["X-Request-ID"])


SPLIT = [
    raw("CRLF in a request id", message("GET", f"{API}/posts", {"X-Request-ID": "a\r\nX-Evil: 1\r\nA:b"}), *SERVED),
    raw("LF in a request id", message("GET", f"{API}/posts", {"X-Request-ID": "a\nX-Evil: 1"}), *BAD),
    raw("CR in a request id", message("GET", f"{API}/posts", {"X-Request-ID": "a\rX-Evil: 1"}), *BAD),
    raw("NUL in a request id", message("GET", f"{API}/posts", {"X-Request-ID": "a\x00"}), *BAD),
    ask("CRLF in a cursor", "GET /posts?cursor=a%0d%0aX-Evil:%201", *INVALID),
    ask("CRLF in a path", "GET //%0d%0aX-Evil:%201", *NOWHERE),
    raw("CRLF in an origin", message("GET", f"{API}/posts", {"Origin": f"{ORIGIN}\nX-Evil: 1"}), *BAD),
]


@table(SPLIT)
def test_no_response_is_split(target: Target, case: Case) -> None:
    assert "X-Evil" not in check(target, case).headers
