"""The bare limit: what this server, driver and database can do at best, with nothing in between.

One WSGI function over Gatepost's own tables: no framework, no ORM, no validation, no limits, no logs. A connection a
thread, one statement a request, orjson, and PyJWT for the token. Served as Gatepost is, by as many workers and threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import jwt
import orjson
import psycopg2

_POST = "SELECT p.id, p.title, p.content, p.status, p.created_at, p.updated_at, u.id, u.name FROM {} JOIN users u"
_LIST = (
    _POST.format("posts p")
    + " ON u.id = p.author_id WHERE p.status = 'published' ORDER BY p.created_at DESC, p.id DESC LIMIT 20"
)
_ONE = _POST.format("posts p") + " ON u.id = p.author_id WHERE p.id = %s"
_CREATE = (
    "WITH p AS (INSERT INTO posts (author_id, title, content, status, published_at, created_at, updated_at)"
    " VALUES (%s, %s, %s, 'published', now(), now(), now()) RETURNING *) "
    + _POST.format("p")
    + " ON u.id = p.author_id"
)
_ME = "SELECT id, name, email, created_at FROM users WHERE id = %s"
_thread = threading.local()
Start = Callable[[str, list[tuple[str, str]]], object]


def application(environ: dict[str, Any], start_response: Start) -> Iterable[bytes]:
    """Answer one request (PEP 3333)."""
    path = environ["PATH_INFO"]
    if path == "/health":
        return _answer(start_response, "200 OK", {"status": "ok"})
    if path == "/api/v1/posts":
        if environ["REQUEST_METHOD"] == "POST":
            body = orjson.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            row = _fetch(_CREATE, (_caller(environ), body["title"], body["content"]))[0]
            return _answer(start_response, "201 Created", _post(row))
        return _answer(start_response, "200 OK", {"items": [_post(row) for row in _fetch(_LIST, ())]})
    if path == "/api/v1/auth/me":
        row = _fetch(_ME, (_caller(environ),))[0]
        me = {"id": row[0], "name": row[1], "email": row[2], "created_at": row[3]}
        return _answer(start_response, "200 OK", me)
    return _answer(start_response, "200 OK", _post(_fetch(_ONE, (int(path.rpartition("/")[2]),))[0]))


def _fetch(statement: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    cursor = getattr(_thread, "cursor", None)
    if cursor is None:
        connection = psycopg2.connect(os.environ["LIMIT_DATABASE_URL"])
        connection.autocommit = True
        cursor = _thread.cursor = connection.cursor()
    cursor.execute(statement, parameters)
    rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _caller(environ: dict[str, Any]) -> int:
    token = environ["HTTP_AUTHORIZATION"].partition(" ")[2]
    claims = jwt.decode(
        token, os.environ["LIMIT_SECRET_KEY"], algorithms=["HS256"], options={"verify_aud": False, "verify_iss": False}
    )
    return int(claims["sub"])


def _post(row: tuple[Any, ...]) -> dict[str, Any]:
    return {
        "id": row[0],
        "title": row[1],
        "content": row[2],
        "status": row[3],
        "created_at": row[4],
        "updated_at": row[5],
        "author": {"id": row[6], "name": row[7]},
    }


def _answer(start_response: Start, status: str, value: object) -> list[bytes]:
    body = orjson.dumps(value)
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
