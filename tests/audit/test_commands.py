"""The `audit` commands."""

from __future__ import annotations

from datetime import timedelta

import pytest
from click.testing import Result
from flask import Flask
from flask.testing import FlaskClient

from tests.audit.support import add_events, events, names
from tests.auth.support import log_in
from tests.conftest import Clock, Person


def prune(app: Flask, *arguments: str) -> Result:
    """Run the command."""
    return app.test_cli_runner().invoke(args=["audit", "prune", *arguments])


@pytest.mark.parametrize("days", ["90", "1"])
def test_prune_deletes_what_is_older(app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch, days: str) -> None:
    monkeypatch.setattr("app.audit.commands.BATCH", 2)
    span, second = timedelta(days=int(days)), timedelta(seconds=1)
    add_events(app, clock, *({"created_at": clock.now - span - n * second, "detail": str(n)} for n in range(6)))
    result = prune(app, "--older-than-days", days)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "5 old events deleted.\n", "")
    kept, pruned = events(app)
    assert kept["detail"] == "0"
    assert (pruned["event"], pruned["actor"], pruned["detail"]) == ("audit_pruned", "operator", f"{days}d")
    assert pruned["created_at"] == clock.now
    assert prune(app, "--older-than-days", days).stdout == "0 old events deleted.\n"
    assert len(events(app)) == 2


def test_prune_spares_what_is_young(app: Flask, client: FlaskClient, alice: Person) -> None:
    log_in(client, alice.email)
    assert prune(app, "--older-than-days", "1").stdout == "0 old events deleted.\n"
    assert prune(app, "--older-than-days", "99999").stdout == "0 old events deleted.\n"
    assert names(app) == ["logged_in"]


@pytest.mark.parametrize(
    "age",
    ["", "0", "d", "-1", "+-1", "1.5", "90d", "100000", "1e3"],
)
def test_prune_refuses_nonsense(app: Flask, clock: Clock, age: str) -> None:
    add_events(app, clock, {"created_at": clock.now - timedelta(days=1000)})
    result = prune(app, f"--older-than-days={age}")
    assert result.exit_code == 2
    assert "'--older-than-days'" in result.stderr
    assert len(events(app)) == 1


def test_prune_requires_an_age(app: Flask) -> None:
    result = prune(app)
    assert result.exit_code == 2
    assert "--older-than-days" in result.stderr
