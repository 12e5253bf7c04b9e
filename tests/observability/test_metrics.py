"""Tests of the metrics, and of the Grafana dashboard and the Prometheus alerts that use them."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import REGISTRY
from sqlalchemy import text

from app import create_app
from app.api.errors import PROBLEMS
from app.auth.sessions import Reuse
from app.database import db
from app.security.rate_limits import LimitName
from gatepost.testing.races import Reply, on_every_worker
from gatepost.testing.services import LOOPBACK, free_port
from gatepost.testing.services.gatepost import GatepostServer
from tests.auth.support import reissue
from tests.conftest import API, PASSWORD, ROOT, Clock, Person, settings_for

NAME = re.compile(r"\bgatepost_[a-z_]+\b")
RULES = (ROOT / "ops/alerts.yml").read_text(encoding="utf-8")


def value(client: FlaskClient, line: str) -> float:
    """Return the value of one series, 0 if it does not exist."""
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


def test_unknown_paths_and_methods_share_one_series(client: FlaskClient) -> None:
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


def test_gauges_return_to_their_value_after_each_request(client: FlaskClient) -> None:
    # Other applications in this process may have changed the gauges, so only the difference is checked.
    names = ("gatepost_requests_in_flight", "gatepost_db_pool_in_use")
    before = [value(client, name) for name in names]
    client.get(f"{API}/posts")
    client.get(f"{API}/nothing")
    client.post(f"{API}/auth/login", json={"email": "nobody@example.com", "password": PASSWORD})
    assert [value(client, name) for name in names] == before


def test_logins_and_refreshes_are_counted_by_outcome(alice: Person, client: FlaskClient, clock: Clock) -> None:
    names = [
        'gatepost_logins_total{outcome="succeeded"}',
        'gatepost_logins_total{outcome="failed"}',
        'gatepost_refreshes_total{outcome="rotated"}',
        'gatepost_refreshes_total{outcome="grace"}',
        'gatepost_refreshes_total{outcome="unconfirmed"}',
        'gatepost_refreshes_total{outcome="unknown"}',
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
    refresh(reissue(second, gen=9))
    clock.forward(seconds=10)
    refresh(second)
    refresh(alice.refresh_token)
    refresh(second)
    counted = [1, 1, 2, 1, 1, 1, 1, 1]
    assert [value(client, name) for name in names] == [n + d for n, d in zip(before, counted, strict=True)]


def fetch(server: GatepostServer, path: str) -> Reply:
    """Send GET to a running server."""
    connection = http.client.HTTPConnection(LOOPBACK, server.port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read(), 0)
    finally:
        connection.close()


def numbers(reply: Reply, line: str) -> float:
    """Return the value of one series in a response of /metrics, 0 if it does not exist."""
    found = [text for text in reply.content.decode().splitlines() if text.startswith(line + " ")]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def succeeds_soon(check: Callable[[], None]) -> None:
    """Repeat a check until it succeeds; after a minute, let it fail."""
    ends = time.monotonic() + 60
    while True:
        try:
            return check()
        except AssertionError:
            if time.monotonic() > ends:
                raise
        time.sleep(0.05)


def test_every_worker_reports_the_sum_of_all_including_ended_ones(shared_server: GatepostServer) -> None:
    series = 'gatepost_requests_total{method="GET",route="/problems/<name>",status="200"}'
    before = numbers(fetch(shared_server, "/metrics"), series)
    answers = on_every_worker(shared_server, lambda: fetch(shared_server, "/problems/not-found"))
    assert [reply.status for reply in answers] == [200, 200]

    def check_reports() -> None:
        found = on_every_worker(shared_server, lambda: fetch(shared_server, "/metrics"))
        # Only the scrape itself is in flight; requests of the worker that was killed no longer count.
        assert {numbers(reply, "gatepost_requests_in_flight") for reply in found} == {1}
        # Readiness is a value of the replica, not a sum over its workers.
        assert {numbers(reply, "gatepost_ready") for reply in found} == {1}
        assert [numbers(reply, series) for reply in found] == [before + 2, before + 2]

    # A worker counts a request as ended after it has sent the response, which may be after the client has read it.
    succeeds_soon(check_reports)
    old = shared_server.worker_pids()
    os.kill(old[0], signal.SIGKILL)
    ends = time.monotonic() + 60
    while len(set(shared_server.worker_pids()) - {old[0]}) < 2:
        assert time.monotonic() < ends
        time.sleep(0.05)
    succeeds_soon(check_reports)


@pytest.mark.parametrize("path", ["ops/alerts.yml", "ops/grafana-dashboard.json"])
def test_dashboard_and_alerts_use_existing_metrics(path: str, client: FlaskClient) -> None:
    known = {sample.name for metric in REGISTRY.collect() for sample in metric.samples}
    known |= set(re.findall(r"# TYPE (\w+) ", (ROOT / "ops/nginx/start.sh").read_text()))
    known |= {metric.name + suffix for metric in REGISTRY.collect() for suffix in ("", "_total", "_bucket")}
    used = set(NAME.findall((ROOT / path).read_text()))
    assert used
    assert used <= known


def test_the_dashboard_has_what_grafana_requires() -> None:
    dashboard = json.loads(Path(ROOT / "ops/grafana-dashboard.json").read_text())
    assert dashboard["title"] == "Gatepost"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    assert all(target["expr"] for panel in dashboard["panels"] for target in panel["targets"])


# Run in a separate process, because here other tests may have created a series that does not exist at the start.
FRESH = """
from app import create_app
from app.observability import metrics
create_app()
print(metrics.render().decode())
"""


def test_series_that_alerts_compare_exist_from_the_start(tmp_path: Path) -> None:
    environ = os.environ | {
        "APP_ENV": "testing",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'unused.db'}",
        "JWT_SECRET_KEY": "a-key-for-the-tests-alone-0123456789",
    }
    output = subprocess.run(
        [sys.executable, "-c", FRESH], cwd=ROOT, env=environ, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    compared = set(re.findall(r'(gatepost_\w+_total\{(?:code|outcome)="\w+"\})', RULES))
    expected = {
        f'gatepost_problems_total{{code="{code}"}}'
        for code, kind in PROBLEMS.items()
        if kind.__module__.startswith("app.")
    }
    expected |= {f'gatepost_rate_limits_hit_total{{limit="{name.value}"}}' for name in LimitName}
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py"))
    for metric, counter in {"logins": "LOGINS", "refreshes": "REFRESHES"}.items():
        outcomes = re.findall(rf'metrics\.{counter}\.labels\("(\w+)"\)', code)
        assert outcomes
        if metric == "refreshes":
            outcomes += [reuse.name.lower() for reuse in Reuse]
        expected |= {f'gatepost_{metric}_total{{outcome="{outcome}"}}' for outcome in outcomes}
    assert compared
    assert compared <= expected
    begun = {line.rpartition(" ")[0] for line in output.splitlines() if line.endswith(" 0.0")}
    assert expected <= begun


def test_each_scrape_checks_readiness(app: Flask, client: FlaskClient) -> None:
    def reported() -> list[float]:
        components = [f'gatepost_component_healthy{{component="{name}"}}' for name in ("database", "migrations")]
        return [value(client, name) for name in ("gatepost_ready", *components, "gatepost_maintenance")]

    assert reported() == [1, 1, 1, 0]
    with app.app_context(), db.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    try:
        assert reported() == [0, 1, 0, 0]
    finally:
        with app.app_context(), db.engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :head"), {"head": newest()})


def newest() -> str:
    """Return the newest revision of the code."""
    return str(ScriptDirectory(str(ROOT / "migrations")).get_current_head())


def test_an_unreachable_database_and_redis_are_reported() -> None:
    # No server listens on these ports.
    url = f"postgresql://gatepost:x@{LOOPBACK}:{free_port()}/gatepost"
    redis = f"redis://{LOOPBACK}:{free_port()}/0"
    app = create_app(settings_for(url, redis_url=redis, ratelimit_enabled=True))
    client = app.test_client()
    names = [f'gatepost_component_healthy{{component="{name}"}}' for name in ("database", "migrations", "redis")]
    response = client.get("/metrics")
    assert response.status_code == 200
    assert [value(client, name) for name in ("gatepost_ready", *names)] == [0, 0, 0, 0]


def test_maintenance_is_reported_without_other_requests(alice: Person, client: FlaskClient, app: Flask) -> None:
    assert value(client, "gatepost_maintenance") == 0
    runner = app.test_cli_runner()
    assert runner.invoke(args=["maintenance", "on"]).exit_code == 0
    assert value(client, "gatepost_maintenance") == 1
    assert runner.invoke(args=["maintenance", "off"]).exit_code == 0
    assert value(client, "gatepost_maintenance") == 0
