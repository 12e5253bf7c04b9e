"""Fills PostgreSQL with a given number of users, sessions and posts, by few SQL statements.

The first and last pages of each list are written first, and the rows that sort between them later. So the cursor to the
last page is found in a list of a few pages, and is still valid when there are millions of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2

from app.security.passwords import hash_password
from gatepost.testing.services.postgres import PostgresServer
from tests.conftest import migrate

PASSWORD = "correct horse battery staple"  # only in the databases of the measurement
# Rows at each end of every sort order: one and a half pages of the default length, so that a list has three pages.
EDGE = 30
# Both authors have many posts. The first has the same share of drafts as all authors; the second has only the drafts of
# the first and last pages.
AUTHOR, PUBLISHER = 1, 2
# Each of the two authors has every hundredth post.
EACH_AUTHORS, DRAFTS_SHARE = 100, 0.08
MEMORY = "SET maintenance_work_mem = '512MB'; SET work_mem = '64MB'; SET synchronous_commit = off"

_USERS = """
INSERT INTO users (email, email_key, email_verified, name, name_key, password_hash, created_at, updated_at)
SELECT address, address, true, called, called, %(hash)s, moment, moment
  FROM (SELECT 'u' || i || '@example.com' AS address, {name} AS called, {moment} AS moment
          FROM generate_series({first}, {last}) AS i) AS made
"""
_POSTS = """
INSERT INTO posts (author_id, title, content, status, published_at, created_at, updated_at)
SELECT author, title, repeat('Some words of a text. ', 12), status,
       CASE status WHEN 'published' THEN created END, created, updated
  FROM (SELECT {author} AS author, {title} AS title, {status} AS status, {moment} AS created, {updated} AS updated
          FROM generate_series({first}, {last}) AS i) AS made
"""
_SESSIONS = """
INSERT INTO sessions (user_id, generation, created_at, rotated_at, last_used_at, expires_at, idle_expires_at,
                      user_agent, ip)
SELECT id, 1, now(), now(), now() - id * interval '1 millisecond', now() + interval '30 days',
       now() + interval '7 days', 'benchmark', '127.0.0.1'
  FROM users
"""
# The rows of the first and last pages are in 2023 and 2027, all others between; '!' and '~' sort before and after the
# digits of md5.
_EDGE_MOMENT = "CASE WHEN i <= {edge} THEN timestamptz '2023-01-01Z' ELSE '2027-01-01Z' END + i * interval '1 minute'"
_EDGE_TEXT = "CASE WHEN i <= {edge} THEN '!' ELSE '~' END || lpad(i::text, 3, '0')"
_MOMENT = "timestamptz '2024-01-01Z' + (i::float / {last}) * interval '700 days'"


class Filler:
    """Writes to one migrated, empty database."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg2.connect(url)
        self._connection.autocommit = True
        self._hash = hash_password(PASSWORD)

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()

    def write_edges(self) -> None:
        """Write the outermost users and, of one author, the outermost published posts and drafts."""
        last = 2 * EDGE
        moment, text = _EDGE_MOMENT.format(edge=EDGE), _EDGE_TEXT.format(edge=EDGE)
        self._run(_USERS.format(name=text, moment=moment, first=1, last=last))
        for author, status in ((AUTHOR, "published"), (AUTHOR, "draft"), (PUBLISHER, "draft")):
            columns = {"author": author, "title": text, "status": f"'{status}'", "moment": moment, "updated": moment}
            self._run(_POSTS.format(**columns, first=1, last=last))

    def write_bulk(self, users: int, posts: int) -> None:
        """Write the rest, a session for each user, and the statistics."""
        self._run("SELECT setseed(0.5)")
        indexes = self._drop_indexes()
        first, last = 2 * EDGE + 1, max(users, 2 * EDGE + 1)
        self._run(_USERS.format(name="md5(i::text)", moment=_MOMENT.format(last=last), first=first, last=last))
        self._run(_SESSIONS)
        columns = {
            "author": f"CASE mod(i, {EACH_AUTHORS}) WHEN 1 THEN {AUTHOR} WHEN 2 THEN {PUBLISHER} "
            f"ELSE {PUBLISHER} + 1 + floor(random() * ({last} - {PUBLISHER})) END",
            "title": "md5(i::text) || ' and so on'",
            "status": f"CASE WHEN random() < {DRAFTS_SHARE} AND mod(i, {EACH_AUTHORS}) <> 2 THEN 'draft' "
            "ELSE 'published' END",
            "moment": _MOMENT.format(last=posts),
            # In no order that the others have.
            "updated": "timestamptz '2026-01-01Z' + random() * interval '300 days'",
        }
        self._run(_POSTS.format(**columns, first=1, last=posts))
        for definition in indexes:
            self._run(definition)
        self._run("VACUUM ANALYZE")

    def _drop_indexes(self) -> list[str]:
        """Drop the indexes of posts that no constraint needs; returns what makes them again, sorted at once."""
        found = self._run(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'posts' AND indexdef !~ 'UNIQUE'"
        )
        for name, _ in found:
            self._run(f"DROP INDEX {name}")
        return [definition for _, definition in found]

    def _run(self, statement: str) -> list[Any]:
        with self._connection.cursor() as cursor:
            if statement.startswith(("INSERT", "CREATE")):
                cursor.execute(MEMORY)
            cursor.execute(statement, {"hash": self._hash})
            return cursor.fetchall() if cursor.description else []

    def size_of(self) -> str:
        """How large the database is, in words."""
        return str(self._run("SELECT pg_size_pretty(pg_database_size(current_database()))")[0][0])


@contextmanager
def filled(name: str, users: int, posts: int) -> Iterator[str]:
    """A PostgreSQL with a database of this name, which has so many users and posts; gives its URL."""
    with PostgresServer() as postgres:
        url = postgres.create_database(name)
        migrate(url)
        filler = Filler(url)
        filler.write_edges()
        filler.write_bulk(users, posts)
        filler.close()
        yield url
