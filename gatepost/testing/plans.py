"""Query plans: whether a database reads an index for a statement, as it would in a large table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from flask import Flask
from sqlalchemy import Connection, Table, event
from sqlalchemy.sql import visitors

from app.components import components_of
from app.database import db


class Statement(NamedTuple):
    """A statement that a request has executed, with the values of its parameters."""

    clause: Any
    parameters: Mapping[str, Any]

    @property
    def tables(self) -> set[str]:
        """The names of the tables that it reads."""
        return {part.name for part in visitors.iterate(self.clause) if isinstance(part, Table)}


@contextmanager
def recorded(app: Flask, *, of: Collection[str]) -> Iterator[list[Statement]]:
    """Collect the SELECTs of the tables `of` that the block executes."""
    executor = components_of(app).executor
    execute, seen = executor.execute, list[Statement]()

    def note(statement: Any, parameters: Mapping[str, Any], transaction: Connection | None = None) -> Any:
        if statement.is_select and not Statement(statement, parameters).tables.isdisjoint(of):
            seen.append(Statement(statement, parameters))
        return execute(statement, parameters, transaction)

    executor.execute = note  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        del executor.execute


@contextmanager
def explaining(app: Flask, without: Iterable[str] = ()) -> Iterator[Callable[[Statement], list[str]]]:
    """Give a function that returns the faults of the plan of a statement, with some indexes dropped.

    A scan of a table is a fault, and a sort unless the statement reads the few rows of a numbered page.
    """
    sent: list[tuple[str, Any]] = []

    def note(connection: Any, cursor: Any, text: str, parameters: Any, *rest: Any) -> None:
        sent.append((text, parameters))

    def explain(statement: Statement) -> list[str]:
        # Executed, in order to get the text and the parameters as the driver receives them.
        event.listen(connection, "before_cursor_execute", note)
        connection.execute(*statement)
        event.remove(connection, "before_cursor_execute", note)
        begins = "cursor_id" not in statement.parameters
        found = FAULTS[connection.dialect.name](connection, *sent[-1], begins=begins)
        return list(filter(_is_fault_of(statement), found))

    with app.app_context(), db.engine.connect() as connection:
        for index in without:
            connection.exec_driver_sql(f"DROP INDEX {index}")
        yield explain
        connection.rollback()


def _is_fault_of(statement: Statement) -> Callable[[str], bool]:
    """Return a function that decides whether a step of a plan is a fault for this statement."""
    if "row_offset" in statement.parameters:
        return is_scan
    # The rows that are counted are a subquery, which is scanned.
    return lambda fault: fault != "SCAN anon_1"


def is_scan(fault: str) -> bool:
    """Return whether a fault is that a statement reads a whole table."""
    return "SCAN" in fault.upper()


def faults_on_postgresql(connection: Connection, statement: str, parameters: Any, *, begins: bool) -> list[str]:
    """Return the faults of the plan, with the settings of the planner favouring indexes as on a large table."""
    # The settings below make costs high, for which the server would compile the next statement for seconds.
    connection.exec_driver_sql("SET LOCAL jit = off")
    for method in ("seqscan", "sort", "bitmapscan", "hashjoin", "mergejoin"):
        connection.exec_driver_sql(f"SET LOCAL enable_{method} = off")
    found = connection.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters).scalar_one()
    plan = found[0]["Plan"] if not isinstance(found, str) else json.loads(found)[0]["Plan"]
    nodes = list(_nodes(plan))
    faults = [
        f"{node['Node Type']} {node.get('Relation Name', '')}".strip()
        for node in nodes
        if re.search("Seq Scan|Sort", node["Node Type"])
    ]
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


FAULTS: dict[str, Callable[..., list[str]]] = {
    "sqlite": faults_on_sqlite,
    "postgresql": faults_on_postgresql,
}
