"""docker-compose.yml on a real engine: start, confinement, scaling, upgrades, crashes and outages."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from gatepost.testing.services import LOOPBACK
from tests.compose.deployment import ORIGIN, PATIENCE_SECONDS, ROOT, Deployment, docker, within
from tests.compose.traffic import check_traffic, traffic
from tests.test_readme import normalised, run, tour

SERVICES = ("db", "redis", "app", "nginx")
MAX_START_SECONDS = 120
# Five times the promised 2 s: a guard, not a measurement.
DEADLINE_SECONDS = 10


class TestStart:
    def test_it_starts_in_time(self, deployment: Deployment) -> None:
        assert deployment.seconds_to_start < MAX_START_SECONDS

    @pytest.mark.parametrize("name", ["JWT_SECRET_KEY", "CORS_ORIGINS"])
    def test_the_error_names_a_missing_secret(self, name: str, tmp_path: Path) -> None:
        others = {"JWT_SECRET_KEY": "b", "CORS_ORIGINS": "c"}
        del others[name]
        (tmp_path / "env").write_text("".join(f"{key}={value}\n" for key, value in others.items()))
        env = {key: value for key, value in os.environ.items() if key != name}
        command = ["docker", "compose", "--env-file", str(tmp_path / "env"), "config", "--quiet"]
        answer = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert answer.returncode != 0
        assert f"required variable {name} is missing a value: set it" in answer.stderr

    def test_every_service_is_healthy_and_the_migration_succeeded(self, deployment: Deployment) -> None:
        for service in SERVICES:
            assert [c["State"]["Health"]["Status"] for c in deployment.containers(service)] == ["healthy"]
        assert [(c["State"]["Status"], c["State"]["ExitCode"]) for c in deployment.containers("migrate")] == [
            ("exited", 0)
        ]

    def test_the_chosen_server_serves(self, deployment: Deployment) -> None:
        ask = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/health').headers['Server'])"
        assert deployment.compose("exec", "-T", "app", "python", "-c", ask).strip() == deployment.server

    def test_migrations_can_run_concurrently(self, deployment: Deployment) -> None:
        with ThreadPoolExecutor(3) as pool:
            runs = [pool.submit(deployment.compose, "run", "--rm", "--no-TTY", "migrate") for _ in range(3)]
            for run in runs:
                run.result()


class TestConfinement:
    @pytest.mark.parametrize("service", [*SERVICES, "migrate"])
    def test_a_container_has_no_unnecessary_privileges(self, deployment: Deployment, service: str) -> None:
        for container in deployment.containers(service):
            host = container["HostConfig"]
            assert host["ReadonlyRootfs"]
            assert host["CapDrop"] == ["ALL"]
            assert not host["CapAdd"]
            assert not host["Privileged"]
            assert host["SecurityOpt"] == ["no-new-privileges:true"]
            assert min(host["Memory"], host["NanoCpus"], host["PidsLimit"]) > 0
            assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "5", "max-size": "10m"}}
            assert host["RestartPolicy"]["Name"] == ("on-failure" if service == "migrate" else "unless-stopped")
            assert container["Config"]["User"] not in ("", "0", "root")

    def test_the_stop_timeout_can_be_configured(self, deployment: Deployment) -> None:
        for container in deployment.containers("app"):
            assert container["Config"]["StopTimeout"] == deployment.stop_seconds

    @pytest.mark.parametrize("service", SERVICES)
    def test_no_process_runs_as_root(self, deployment: Deployment, service: str) -> None:
        for container in deployment.containers(service):
            users = docker("top", container["Id"], "-eo", "pid,uid").split()[3::2]
            assert users
            assert "0" not in users

    def test_nginx_can_buffer_bodies_and_responses(self, deployment: Deployment) -> None:
        # nginx starts without this permission, and only long bodies and responses would fail.
        for folder in ("$NGINX_BODIES_DIR", "$NGINX_ANSWERS_DIR"):
            deployment.compose("exec", "-T", "nginx", "sh", "-c", f'cd "{folder}" && echo . >try && rm try')

    def test_only_nginx_is_reachable_from_outside(self, deployment: Deployment) -> None:
        published = {
            service: [port for c in deployment.containers(service) for port in c["HostConfig"]["PortBindings"] or {}]
            for service in SERVICES
        }
        assert published == {"db": [], "redis": [], "app": [], "nginx": ["8080/tcp", "8443/tcp"]}
        networks = {s: set(deployment.containers(s)[0]["NetworkSettings"]["Networks"]) for s in SERVICES}
        assert networks["nginx"].isdisjoint(networks["db"] | networks["redis"])


def test_the_tour_of_the_readme_runs_as_printed_through_nginx(deployment: Deployment) -> None:
    deployment.empty()
    commands, shown = zip(*tour(), strict=True)
    seen = run(list(commands), f"http://{LOOPBACK}:{deployment.port}")
    assert [normalised(output) for output in seen] == [normalised(output) for output in shown]


def test_an_allowed_origin_can_read_but_metrics_and_readiness_are_closed(deployment: Deployment) -> None:
    assert deployment.call("GET", "/posts").only("Access-Control-Allow-Origin") == ORIGIN
    for closed in ("/metrics", "/health/ready"):
        assert deployment.call("GET", f"/../..{closed}").json()["code"] == "not_found"


def requests_logged(deployment: Deployment) -> list[int]:
    """Return how many requests each replica has answered."""
    logs = [docker("logs", container["Id"]) for container in deployment.containers("app")]
    return [log.count('"route":"/api/v1/posts"') for log in logs]


def test_it_scales_up_and_down_without_a_failed_request(deployment: Deployment) -> None:
    with traffic(deployment) as clients:
        deployment.up("--scale", "app=3")
        assert len(deployment.containers("app")) == 3
        # nginx finds the new replicas.
        within(PATIENCE_SECONDS, lambda: min(requests_logged(deployment)) > 20)
        deployment.upgrade("1")
        assert len(deployment.containers("app")) == 1
        clients.work(100)
    check_traffic(deployment, clients, reloads=5)


def test_an_upgrade_replaces_every_replica_without_a_failed_request(deployment: Deployment) -> None:
    deployment.up("--scale", "app=3")
    old = {container["Id"] for container in deployment.containers("app")}
    with traffic(deployment) as clients:
        deployment.upgrade()
        clients.work(100)
    check_traffic(deployment, clients, reloads=5)
    new = {container["Id"] for container in deployment.containers("app")}
    assert len(new) == 3
    assert old.isdisjoint(new)
    deployment.up("--scale", "app=1")


def test_old_code_starts_on_the_schema_of_newer_code(deployment: Deployment) -> None:
    newest = deployment.sql("SELECT version_num FROM alembic_version").strip()
    deployment.sql("UPDATE alembic_version SET version_num = 'from-the-future'")
    try:
        deployment.compose("rm", "--stop", "--force", "migrate", "app")
        deployment.up()
        assert "The database is ahead of this code: nothing to do." in deployment.compose("logs", "migrate")
        assert deployment.works()
        deployment.upgrade()
    finally:
        deployment.sql(f"UPDATE alembic_version SET version_num = '{newest}'")


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_crashes_restarts_with_its_data(deployment: Deployment, service: str) -> None:
    alice = deployment.register()
    before = deployment.containers(service)[0]["State"]["StartedAt"]
    deployment.crash(service)
    within(PATIENCE_SECONDS, lambda: deployment.containers(service)[0]["State"]["StartedAt"] != before)
    within(PATIENCE_SECONDS, deployment.works)
    me = deployment.call("GET", "/auth/me", token=alice["access_token"])
    assert (me.status, me.json()["email"]) == (200, alice["email"])
    deployment.up()


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_restarted_keeps_its_data(deployment: Deployment, service: str) -> None:
    alice = deployment.register()
    deployment.compose("restart", service)
    within(PATIENCE_SECONDS, deployment.works)
    assert deployment.call("GET", "/auth/me", token=alice["access_token"]).status == 200


@contextmanager
def stopped(deployment: Deployment, service: str) -> Iterator[None]:
    """Stop a service until the end of the block; its name does not exist meanwhile."""
    deployment.compose("stop", service)
    try:
        yield
    finally:
        deployment.up()


def test_the_service_works_without_redis(deployment: Deployment) -> None:
    with stopped(deployment, "redis"):
        for _ in range(3):
            start = time.monotonic()
            assert deployment.works()
            assert time.monotonic() - start < DEADLINE_SECONDS
        assert deployment.register()["access_token"]


def test_the_service_responds_in_time_without_its_database(deployment: Deployment) -> None:
    with stopped(deployment, "db"):
        for _ in range(3):
            start = time.monotonic()
            answer = deployment.call("GET", "/posts")
            assert (answer.status, answer.json()["code"]) == (503, "database_unavailable")
            assert time.monotonic() - start < DEADLINE_SECONDS
    assert deployment.works()


def test_without_running_replicas_every_request_is_answered_504_in_time(deployment: Deployment) -> None:
    """The address of a stopped container refuses no connection. docs/operations.md says so."""
    with stopped(deployment, "app"):
        for method, payload in (("GET", None), ("POST", {"title": "x", "content": "y"})):
            start = time.monotonic()
            answer = deployment.call(method, "/posts", payload=payload)
            assert (answer.status, answer.json()["code"]) == (504, "gateway_timeout")
            assert time.monotonic() - start < DEADLINE_SECONDS
    assert deployment.works()


def test_down_keeps_the_data_and_nothing_else(deployment: Deployment) -> None:
    alice = deployment.register()
    deployment.compose("down")
    assert docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={deployment.name}") == ""
    deployment.up()
    login = deployment.call("POST", "/auth/login", payload={k: alice[k] for k in ("email", "password")})
    assert login.status == 200
