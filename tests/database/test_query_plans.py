"""Query plans: every list reads an index in every order, so the cost of a page does not grow with the table.

The lists are those of the OpenAPI document, so that a new one is tested too. The statements are recorded from requests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Connection, event

from app.database import db, fetch_all
from gatepost.testing.openapi_document import Document
from tests.conftest import API, PASSWORD, Person

# By list, the filters that have an index of their own.
NARROWED = {
    f"{API}/posts": ("status=draft", "author_id={id}"),
    f"{API}/users/{{user_id}}/posts": ("status=draft", "status=published"),
    f"{API}/audit": ("user_id={id}", "actor_id={id}", "event=logged_in"),
}
Statement = tuple[Any, dict[str, Any]]


@pytest.fixture
def rows(client: FlaskClient, alice: Person, carol: Person) -> None:
    """Insert at least two rows for each list of Carol's, so that there are two pages of one item."""
    for number in range(2):
        for status in ("published", "draft"):
            post = {"title": f"Title {number}", "content": "Text", "status": status}
            assert carol.post("/posts", json=post).status_code == 201
        login = {"email": carol.email, "password": PASSWORD}
        assert client.post(f"{API}/auth/login", json=login).status_code == 200


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """Collect the statements of the lists with their parameters."""
    seen: list[Statement] = []

    def note(statement: Any, **parameters: Any) -> Any:
        seen.append((statement, parameters))
        return fetch_all(statement, **parameters)

    monkeypatch.setattr("app.api.pagination.fetch_all", note)
    return seen


@contextmanager
def explaining(app: Flask, without: Iterable[str] = ()) -> Iterator[Callable[[Statement], list[str]]]:
    """Give a function that returns the faults of the plan of a statement, with some indexes dropped."""
    sent: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, text: str, parameters: Any, *rest: Any) -> None:
        sent.append((text, parameters))

    def explain(statement: Statement) -> list[str]:
        # Executed, in order to get the text and the parameters as the driver receives them.
        event.listen(connection, "before_cursor_execute", note)
        connection.execute(*statement)
        event.remove(connection, "before_cursor_execute", note)
        return EXPLAIN[connection.dialect.name](connection, *sent[-1], begins="cursor_id" not in statement[1])

    with app.app_context(), db.engine.connect() as connection:
        for index in without:
            connection.exec_driver_sql(f"DROP INDEX {index}")
        yield explain
        connection.rollback()


def lists_of(document: Document) -> Iterator[tuple[str, str]]:
    """Yield the path and the sort of each list in an OpenAPI document."""
    for _, path, operation in document.operations.values():
        described = [document.resolve(parameter) for parameter in operation.get("parameters", ())]
        parameters = {parameter["name"]: parameter for parameter in described}
        if "cursor" in parameters:
            for sort in parameters["sort"]["schema"]["enum"]:
                yield path, sort


def walk(person: Person, path: str, query: str) -> None:
    """Read the first page, the second, and the first again by the previous cursor."""
    url = f"{path.removeprefix(API).format(user_id=person.id)}?{query.format(id=person.id)}&limit=1"
    pagination: dict[str, Any] = {"next_cursor": None}
    for way in (None, "next_cursor", "prev_cursor"):
        response = person.get(f"{url}&cursor={pagination[way]}" if way else url)
        assert response.status_code == 200, response.text
        pagination = response.get_json()["pagination"]


def faults_on_postgresql(connection: Connection, statement: str, parameters: Any, *, begins: bool) -> list[str]:
    """Return the faults of the plan, with the settings of the planner favouring indexes as on a large table."""
    # The settings below make costs high, for which the server would compile the next statement for seconds.
    connection.exec_driver_sql("SET LOCAL jit = off")
    for method in ("seqscan", "sort", "bitmapscan", "hashjoin", "mergejoin"):
        connection.exec_driver_sql(f"SET LOCAL enable_{method} = off")
    found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    plan = found[0]["Plan"] if not isinstance(found, str) else json.loads(found)[0]["Plan"]
    nodes = list(_nodes(plan))
    faults = [node["Node Type"] for node in nodes if re.search("Seq Scan|Sort", node["Node Type"])]
    if not begins and not any("ROW(" in node.get("Index Cond", "") for node in nodes):
        faults.append("the cursor's place is no condition of an index")
    return faults


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from _nodes(child)


def faults_on_sqlite(connection: Connection, statement: str, parameters: Any, *, begins: bool) -> list[str]:
    """Return the faults of the plan."""
    steps = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    faults = [step for step in steps if "TEMP B-TREE" in step or re.fullmatch(r"SCAN \w+", step)]
    # Only the sort key of the cursor: SQLite cannot compare a rowid within an index, and skips rows with the same key.
    if not begins and not any(re.search(r"INDEX .*\w[<>]\?\)", step) for step in steps):
        faults.append(f"the cursor's place is no condition of an index: {steps}")
    return faults


EXPLAIN: dict[str, Callable[..., list[str]]] = {
    "sqlite": faults_on_sqlite,
    "postgresql": faults_on_postgresql,
}


def test_every_list_walks_an_index(app: Flask, carol: Person, rows: None, statements: list[Statement]) -> None:
    found = list(lists_of(Document(carol.client.get("/openapi.json").get_json())))
    assert {path for path, _ in found} >= NARROWED.keys()
    faults: dict[str, list[str]] = {}
    for path, sort in found:
        for narrowed in ("", *NARROWED.get(path, ())):
            query = f"sort={sort}&{narrowed}"
            statements.clear()
            walk(carol, path, query)
            assert len(statements) == 3
            with explaining(app) as explain:
                wrong = [fault for statement in statements for fault in explain(statement)]
            if wrong:
                faults[f"{path}?{query}"] = wrong
    assert not faults


TIMES = ("created", "published", "updated")


def test_every_list_is_counted_by_an_index(app: Flask, carol: Person, rows: None, statements: list[Statement]) -> None:
    faults: dict[str, list[str]] = {}
    for path, sort in lists_of(Document(carol.client.get("/openapi.json").get_json())):
        for narrowed in ("", *NARROWED.get(path, ())):
            query = f"sort={sort}&{narrowed}&page=1&limit=1".format(id=carol.id)
            statements.clear()
            assert carol.get(f"{path.removeprefix(API).format(user_id=carol.id)}?{query}").status_code == 200
            assert len(statements) == 2
            with explaining(app) as explain:
                count, page = [explain(statement) for statement in statements]
            # The rows that are counted are a subquery, which is scanned. Only the rows of the page are sorted.
            wrong = [fault for fault in count if fault != "SCAN anon_1"]
            wrong += [fault for fault in page if "SCAN" in fault.upper()]
            if wrong:
                faults[f"{path}?{query}"] = wrong
    assert not faults


@pytest.mark.parametrize(
    "path", ["/posts", "/posts?status=draft", "/users/{id}/posts", "/users/{id}/posts?status=draft"]
)
def test_a_filter_by_the_time_of_the_order_is_a_range_of_its_index(
    app: Flask, carol: Person, rows: None, statements: list[Statement], path: str
) -> None:
    for time in ("created", "updated") if "draft" in path else TIMES:
        for sort in (f"{time}_at", f"-{time}_at"):
            query = f"sort={sort}&{time}_after=2020-01-01T00:00:00Z&{time}_before=2100-01-01T00:00:00Z"
            statements.clear()
            url = f"{path.format(id=carol.id)}{'&' if '?' in path else '?'}{query}"
            assert len(carol.get(url).get_json()["items"]) >= 2
            [statement] = statements
            with explaining(app) as explain:
                assert explain(statement) == []


@pytest.mark.parametrize(
    "query",
    [
        "sort=title&created_after={0}",
        "sort=-created_at&updated_before={0}",
        "sort=title&created_after={0}&published_after={0}",
    ],
)
@pytest.mark.parametrize("path", ["/posts", "/posts?status=draft", "/users/{id}/posts", "/posts?author_id={id}"])
def test_a_filter_by_another_time_is_tested_along_the_index_of_the_order(
    app: Flask, carol: Person, rows: None, statements: list[Statement], path: str, query: str
) -> None:
    url = f"{path.format(id=carol.id)}{'&' if '?' in path else '?'}{query.format('2020-01-01T00:00:00Z')}"
    assert carol.get(url).status_code == 200
    assert len(statements) == 2
    with explaining(app) as explain:
        assert [explain(statement) for statement in statements] == [[], []]


def test_drafts_have_an_index_of_their_own(app: Flask, carol: Person, rows: None, statements: list[Statement]) -> None:
    """A list of few drafts must not read the many published posts between them."""
    carol.get("/posts?status=draft&sort=title")
    carol.get(f"/users/{carol.id}/posts?status=draft&sort=title")
    assert len(statements) == 2
    others = ("ix_posts_author_id_title_id", "ix_posts_status_title_id")
    with explaining(app, without=others) as explain:
        assert [explain(statement) for statement in statements] == [[], []]
