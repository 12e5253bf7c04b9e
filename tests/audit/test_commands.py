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


@pytest.mark.parametrize(
    ("age", "span", "detail"), [("90d", timedelta(days=90), "2160h"), ("12h", timedelta(hours=12), "12h")]
)
def test_prune_deletes_what_is_older(
    app: Flask, clock: Clock, monkeypatch: pytest.MonkeyPatch, age: str, span: timedelta, detail: str
) -> None:
    monkeypatch.setattr("app.audit.commands.BATCH", 2)
    second = timedelta(seconds=1)
    add_events(app, clock, *({"created_at": clock.now - span - n * second, "detail": str(n)} for n in range(6)))
    result = prune(app, "--older-than", age)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "5 old events deleted.\n", "")
    kept, pruned = events(app)
    assert kept["detail"] == "0"
    assert (pruned["event"], pruned["actor"], pruned["detail"]) == ("audit_pruned", "operator", detail)
    assert pruned["created_at"] == clock.now
    assert prune(app, "--older-than", age).stdout == "0 old events deleted.\n"
    assert len(events(app)) == 2


def test_prune_spares_what_is_young(app: Flask, client: FlaskClient, alice: Person) -> None:
    log_in(client, alice.email)
    assert prune(app, "--older-than", "1h").stdout == "0 old events deleted.\n"
    assert prune(app, "--older-than", "99999d").stdout == "0 old events deleted.\n"
    assert names(app) == ["logged_in"]


@pytest.mark.parametrize(
    "age",
    ["", "0d", "90", "d", "-1d", "+1d", "1.5d", "90 d", "90D", "1w", "1m", "90d12h", "100000d", "٩d", "1e3d", "090d"],
)
def test_prune_refuses_nonsense(app: Flask, clock: Clock, age: str) -> None:
    add_events(app, clock, {"created_at": clock.now - timedelta(days=1000)})
    result = prune(app, f"--older-than={age}")
    assert result.exit_code == 2
    assert "such as 90d or 12h" in result.stderr
    assert len(events(app)) == 1


def test_prune_requires_an_age(app: Flask) -> None:
    result = prune(app)
    assert result.exit_code == 2
    assert "--older-than" in result.stderr
