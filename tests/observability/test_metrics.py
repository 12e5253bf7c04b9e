"""Metrics, and the dashboard and alerts that are made of them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from sqlalchemy import text

from app import create_app, drain
from app.api.errors import KINDS
from app.database import db
from app.security.rate_limits import LimitName
from tests.concurrency.race import Reply, on_every_worker
from tests.conftest import API, PASSWORD, ROOT, Person, settings_for
from tests.support.services import LOOPBACK, free_port
from tests.support.services.gatepost import GatepostServer

NAME = re.compile(r"\bgatepost_[a-z_]+\b")
RULES = (ROOT / "ops/alerts.yml").read_text(encoding="utf-8")


def value(client: FlaskClient, line: str) -> float:
    """The number of one series, 0 where it has not begun."""
    for found in client.get("/metrics").text.splitlines():
        if found.startswith(line + " "):
            return float(found.rpartition(" ")[2])
    return 0.0


def test_requests_are_counted_by_route_template(alice: Person, client: FlaskClient) -> None:
    line = f'gatepost_requests_total{{method="GET",route="{API}/posts/<id:post_id>",status="404"}}'
    before = value(client, line)
    for post_id in (11, 12, 13):
        client.get(f"{API}/posts/{post_id}")
    assert value(client, line) == before + 3


def test_paths_and_methods_that_nobody_serves_share_one_series(client: FlaskClient) -> None:
    line = 'gatepost_requests_total{method="other",route="none",status="404"}'
    before = value(client, line)
    client.open("/x/1", method="BREW")
    client.open("/x/2", method="STEAM")
    assert value(client, line) == before + 2


def test_durations_fall_into_buckets(client: FlaskClient) -> None:
    line = 'gatepost_request_duration_seconds_bucket{le="+Inf",method="GET",route="/health"}'
    before = value(client, line)
    client.get("/health")
    assert value(client, line) == before + 1


def test_nothing_stays_in_flight_when_all_is_answered(client: FlaskClient) -> None:
    # Other applications of this process may have left something: what counts is that nothing is added.
    names = ("gatepost_requests_in_flight", "gatepost_db_pool_in_use")
    before = [value(client, name) for name in names]
    client.get(f"{API}/posts")
    client.get(f"{API}/nothing")
    client.post(f"{API}/auth/login", json={"email": "nobody@example.com", "password": PASSWORD})
    assert [value(client, name) for name in names] == before


def test_logins_and_refreshes_are_counted_by_outcome(alice: Person, client: FlaskClient) -> None:
    names = [
        'gatepost_logins_total{outcome="succeeded"}',
        'gatepost_logins_total{outcome="failed"}',
        'gatepost_refreshes_total{outcome="rotated"}',
        'gatepost_refreshes_total{outcome="grace"}',
        'gatepost_refreshes_total{outcome="replay"}',
        'gatepost_refreshes_total{outcome="revoked"}',
    ]
    before = [value(client, name) for name in names]
    client.post(f"{API}/auth/login", json={"email": alice.email, "password": PASSWORD})
    client.post(f"{API}/auth/login", json={"email": alice.email, "password": "not the password"})

    def refresh(token: str) -> str:
        answer = client.post(f"{API}/auth/refresh", headers={"Authorization": f"Bearer {token}"})
        return str(answer.get_json().get("refresh_token"))

    second = refresh(alice.refresh_token)
    refresh(alice.refresh_token)
    refresh(second)
    refresh(alice.refresh_token)
    refresh(second)
    assert [value(client, name) for name in names] == [n + d for n, d in zip(before, [1, 1, 2, 1, 1, 1], strict=True)]


def fetch(server: GatepostServer, path: str) -> Reply:
    """GET a path of a real server."""
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read(), 0)
    finally:
        connection.close()


def numbers(reply: Reply, line: str) -> float:
    """The number of one series in what a server told."""
    found = [text for text in reply.content.decode().splitlines() if text.startswith(line + " ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def test_workers_tell_the_same_numbers_and_keep_those_of_the_dead(shared_server: GatepostServer) -> None:
    series = 'gatepost_requests_total{method="GET",route="/problems/<name>",status="200"}'
    before = numbers(fetch(shared_server, "/metrics"), series)
    answers = on_every_worker(shared_server, lambda: fetch(shared_server, "/problems/not-found"))
    assert [reply.status for reply in answers] == [200, 200]

    def told() -> list[float]:
        found = on_every_worker(shared_server, lambda: fetch(shared_server, "/metrics"))
        # None but the one that asks, though a worker died with what it had in hand.
        assert {numbers(reply, "gatepost_requests_in_flight") for reply in found} == {1}
        # Of the whole replica, however many workers have found it.
        assert {numbers(reply, "gatepost_ready") for reply in found} == {1}
        return [numbers(reply, series) for reply in found]

    assert told() == [before + 2, before + 2]
    old = shared_server.worker_pids()
    os.kill(old[0], signal.SIGKILL)
    ends = time.monotonic() + 10
    while len(set(shared_server.worker_pids()) - {old[0]}) < 2:
        assert time.monotonic() < ends
        time.sleep(0.05)
    assert told() == [before + 2, before + 2]


@pytest.mark.parametrize("path", ["ops/alerts.yml", "ops/grafana-dashboard.json"])
def test_dashboard_and_alerts_name_real_metrics(path: str, client: FlaskClient) -> None:
    known = {sample.name for metric in REGISTRY.collect() for sample in metric.samples}
    known |= {metric.name + suffix for metric in REGISTRY.collect() for suffix in ("", "_total", "_bucket")}
    used = set(NAME.findall((ROOT / path).read_text()))
    assert used
    assert used <= known


def test_dashboard_is_one_that_grafana_can_load() -> None:
    dashboard = json.loads(Path(ROOT / "ops/grafana-dashboard.json").read_text())
    assert dashboard["title"] == "Gatepost"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


# In a process of its own: what other tests counted must not hide a series that is not there from the start.
FRESH = """
from app import create_app
from app.observability import metrics
create_app()
print(metrics.render().decode())
"""


def test_what_alerts_compare_is_told_before_it_is_first_counted(tmp_path: Path) -> None:
    environ = os.environ | {
        "APP_ENV": "testing",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'unused.db'}",
        "JWT_SECRET_KEY": "a-key-for-the-tests-alone-0123456789",
    }
    told = subprocess.run(
        [sys.executable, "-c", FRESH], cwd=ROOT, env=environ, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    compared = set(re.findall(r'(gatepost_\w+_total\{(?:code|outcome)="\w+"\})', RULES))
    expected = {f'gatepost_problems_total{{code="{code}"}}' for code in KINDS}
    expected |= {f'gatepost_rate_limits_hit_total{{limit="{name.value}"}}' for name in LimitName}
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py"))
    for metric, counter in {"logins": "LOGINS", "refreshes": "REFRESHES"}.items():
        outcomes = re.findall(rf'metrics\.{counter}\.labels\("(\w+)"\)', code)
        assert outcomes
        expected |= {f'gatepost_{metric}_total{{outcome="{outcome}"}}' for outcome in outcomes}
    assert compared
    assert compared <= expected
    begun = {line.rpartition(" ")[0] for line in told.splitlines() if line.endswith(" 0.0")}
    assert expected <= begun


def test_readiness_is_found_at_each_scrape(app: Flask, client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> list[float]:
        parts = [f'gatepost_part_healthy{{part="{part}"}}' for part in ("database", "migrations")]
        return [value(client, name) for name in ("gatepost_ready", *parts, "gatepost_maintenance")]

    assert told() == [1, 1, 1, 0]
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        assert told() == [0, 1, 0, 0]
    finally:
        with app.app_context(), db.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": newest()})
    monkeypatch.setattr(drain, "_shared", bytearray(b"\x01"))
    assert told() == [0, 1, 1, 0]


def newest() -> str:
    """The newest revision of the code."""
    return str(ScriptDirectory(str(ROOT / "migrations")).get_current_head())


def test_a_database_that_is_gone_is_told() -> None:
    """No server listens there; and a configured Redis is told of as well."""
    url = f"postgresql://gatepost:x@{LOOPBACK}:{free_port()}/gatepost"
    redis = f"redis://{LOOPBACK}:{free_port()}/0"
    app = create_app(settings_for(url, redis_url=redis, ratelimit_enabled=True))
    client = app.test_client()
    names = [f'gatepost_part_healthy{{part="{part}"}}' for part in ("database", "migrations", "redis")]
    response = client.get("/metrics")
    assert response.status_code == 200
    assert [value(client, name) for name in ("gatepost_ready", *names)] == [0, 0, 0, 0]


def test_maintenance_is_told_without_a_request(alice: Person, client: FlaskClient, app: Flask) -> None:
    assert value(client, "gatepost_maintenance") == 0
    runner = app.test_cli_runner()
    assert runner.invoke(args=["maintenance", "on"]).exit_code == 0
    assert value(client, "gatepost_maintenance") == 1
    assert runner.invoke(args=["maintenance", "off"]).exit_code == 0
    assert value(client, "gatepost_maintenance") == 0
