"""Runs the application in this process, and measures the time of a request, of its SQL and of its password hash."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import psycopg2
from flask import Flask
from sqlalchemy import event
from werkzeug.test import TestResponse

from app import create_app
from app.components import components_of
from app.database import db, fetch_all
from app.security.passwords import verify_password
from tests.conftest import settings_for

API = "/api/v1"


@dataclass(slots=True)
class Cost:
    """Times of one request in ms: in total, in the cursor of the database, and in Argon2; the number of statements."""

    total: float = 0.0
    sql: float = 0.0
    argon2: float = 0.0
    statements: int = 0

    @property
    def rest(self) -> float:
        """The total without Argon2."""
        return self.total - self.argon2


class Refused(Exception):
    """A request of the measurement was refused."""


class Watched:
    """An application on one database; a context manager."""

    def __init__(self, url: str) -> None:
        self.url = url
        # The log lines of requests would hide the tables.
        self.app: Flask = create_app(settings_for(url, log_level="ERROR", access_token_minutes=600))
        self._client = self.app.test_client(use_cookies=False)
        self._cost = Cost()
        with self.app.app_context():
            self._engine = db.engine
        event.listen(self._engine, "before_cursor_execute", self._begin)
        event.listen(self._engine, "after_cursor_execute", self._end)
        # Statements that run directly on the driver cause no events of SQLAlchemy.
        reader = components_of(self.app).executor
        self._note, reader.before, reader.after = reader.before, self._begin_alone, self._end_alone

    def close(self) -> None:
        """Disconnect."""
        with self.app.app_context():
            db.engine.dispose()
            components_of(self.app).probe_engine.dispose()

    def call(
        self, method: str, path: str, token: str = "", expected: Sequence[int] = (200,), **options: Any
    ) -> tuple[TestResponse, Cost]:
        """Send one request; returns its answer and what it cost. Raises Refused."""
        self._cost = cost = Cost()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        with _argon2_timed(cost):
            began = time.perf_counter()
            response = self._client.open(API + path, method=method, headers=headers, **options)
            cost.total = (time.perf_counter() - began) * 1000
        if response.status_code not in expected:
            raise Refused(f"{method} {path}: {response.status_code} {response.text}")
        return response, cost

    def _begin(self, *event: Any) -> None:
        self._cost.statements += 1
        self._began = time.perf_counter()

    def _end(self, *event: Any) -> None:
        self._cost.sql += (time.perf_counter() - self._began) * 1000

    def _begin_alone(self, statement: str) -> str:
        self._begin()
        return str(self._note(statement))

    def _end_alone(self) -> None:
        self._end()

    def plan_of_list(self, path: str, token: str) -> Plan:
        """Return how the database answers the last list that a request asks for."""
        sent: list[tuple[Any, dict[str, Any]]] = []
        queries: list[bytes] = []

        def note(statement: Any, **parameters: Any) -> Any:
            sent.append((statement, parameters))
            return fetch_all(statement, **parameters)

        with mock.patch("app.api.pagination.fetch_all", note):
            self.call("GET", path, token)
        with self._engine.connect() as connection:
            event.listen(connection, "after_cursor_execute", lambda _, cursor, *rest: queries.append(cursor.query))
            connection.execute(*sent[-1])
        return self._plan_of(queries[-1])

    def _plan_of(self, query: bytes) -> Plan:
        connection = psycopg2.connect(self.url)
        try:
            with connection.cursor() as cursor:
                cursor.execute(b"EXPLAIN (FORMAT JSON) " + query)
                found = cursor.fetchone()
        finally:
            connection.close()
        nodes = list(_nodes(found[0][0]["Plan"])) if found else []
        return Plan(
            indexes=[node["Index Name"] for node in nodes if "Index Name" in node],
            sorts=any("Sort" in node["Node Type"] for node in nodes),
            scans=any(node["Node Type"] == "Seq Scan" for node in nodes),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a query's plan is made of."""

    indexes: list[str]
    sorts: bool
    scans: bool

    def __str__(self) -> str:
        words = [*self.indexes[:1], *(["**sorts**"] if self.sorts else []), *(["**scans**"] if self.scans else [])]
        return ", ".join(words)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


@contextmanager
def _argon2_timed(cost: Cost) -> Iterator[None]:
    def timed(*arguments: Any) -> bool:
        began = time.perf_counter()
        try:
            return verify_password(*arguments)
        finally:
            cost.argon2 += (time.perf_counter() - began) * 1000

    with mock.patch("app.auth.service.verify_password", timed):
        yield
