"""Changes of a stack that serves: the database's password, settings, and the certificate."""

from __future__ import annotations

import json
import re
import sys
from threading import Thread

import pytest

from tests.compose.deployment import PATIENCE_SECONDS, CommandFailed, Deployment, within
from tests.compose.traffic import check_traffic, traffic
from tests.docs.test_operations import section
from tests.stack.test_certificate import make_certificate

OTHERS = ("db", "redis", "nginx")
# Prints the error of a connection with the password on standard input.
CONNECT = """
import psycopg2, sys
try:
    psycopg2.connect(host="db", user="gatepost", dbname="gatepost", password=sys.argv[1]).close()
except psycopg2.OperationalError as error:
    print(error)
"""
METRICS = "import urllib.request as r; print(r.urlopen('http://nginx:8081/metrics').read().decode())"


def ids(deployment: Deployment, *services: str) -> list[str]:
    """Return the ids of the containers of these services."""
    return sorted(container["Id"] for service in services for container in deployment.containers(service))


def connect(deployment: Deployment, password: str) -> str:
    """Return the error of a connection to the database with this password; "" if it succeeds."""
    return deployment.compose("exec", "-T", "app", "python", "-c", CONNECT, password).strip()


def test_a_change_of_the_password_fails_no_request_and_replaces_no_container(deployment: Deployment) -> None:
    before = ids(deployment, *OTHERS, "app")
    old = deployment.password_file.read_text().rstrip("\n")
    assert connect(deployment, old) == ""
    with traffic(deployment) as clients:
        clients.work(100)
        deployment.run(sys.executable, "tools/production_env.py", "--change-password")
        clients.work(100)
        assert ids(deployment, *OTHERS, "app") == before
        # New replicas, and connections of the readiness check, which are all new, use the new password.
        deployment.upgrade()
        clients.work(100)
    check_traffic(deployment, clients, reloads=5)
    assert ids(deployment, *OTHERS) == sorted(set(before) & set(ids(deployment, *OTHERS)))
    new = deployment.password_file.read_text().rstrip("\n")
    assert new != old
    assert connect(deployment, new) == ""
    assert "password authentication failed" in connect(deployment, old)


def test_a_setting_of_the_application_is_applied_without_a_failed_request(deployment: Deployment) -> None:
    others, old = ids(deployment, *OTHERS), ids(deployment, "app")
    with traffic(deployment) as clients, deployment.changed(MAX_SESSIONS_PER_USER="19"):
        deployment.upgrade()
        clients.work(100)
        shown = deployment.compose("exec", "-T", "app", "flask", "config", "check")
        assert re.search(r"MAX_SESSIONS_PER_USER\W+19", shown)
    check_traffic(deployment, clients, reloads=5)
    assert ids(deployment, *OTHERS) == others
    assert set(ids(deployment, "app")).isdisjoint(old)


def test_settings_and_files_that_nginx_does_not_accept_replace_nothing(deployment: Deployment) -> None:
    before = ids(deployment, *OTHERS, "app")
    with deployment.changed(NGINX_CONNECTIONS="many"), pytest.raises(CommandFailed) as refused:
        deployment.upgrade()
    assert 'NGINX_CONNECTIONS: invalid number of connections \\"many\\"' in str(refused.value)
    make_certificate(deployment.tls_folder, "First")
    (deployment.tls_folder / "fullchain.new").rename(deployment.tls_folder / "fullchain.pem")
    make_certificate(deployment.tls_folder, "Second")
    (deployment.tls_folder / "privkey.new").rename(deployment.tls_folder / "privkey.pem")
    try:
        with pytest.raises(CommandFailed, match="key values mismatch"):
            deployment.upgrade()

        def refused_in_metrics() -> bool:
            shown = deployment.compose("exec", "-T", "app", "python", "-c", METRICS)
            return "gatepost_tls_files_accepted 0" in shown

        within(PATIENCE_SECONDS, refused_in_metrics)
        assert deployment.works()
    finally:
        for file in deployment.tls_folder.iterdir():
            file.unlink()
    within(PATIENCE_SECONDS, lambda: not refused_in_metrics())
    assert ids(deployment, *OTHERS, "app") == before


def test_one_request_can_be_followed_through_all_logs(deployment: Deployment) -> None:
    (block,) = re.findall(r"^```sh\n(ID=.*?)^```", section("Logs"), re.DOTALL | re.MULTILINE)
    lock = "BEGIN; LOCK TABLE auth_events; SELECT pg_sleep(6); COMMIT"
    holder = Thread(target=deployment.sql, args=(lock,))
    holder.start()
    within(
        PATIENCE_SECONDS, lambda: "t" in deployment.sql("SELECT true FROM pg_locks WHERE mode = 'AccessExclusiveLock'")
    )
    credentials = {"email": "nobody@example.com", "password": "not the password"}
    answer = deployment.call("POST", "/auth/login", payload=credentials)
    holder.join()
    assert answer.status == 503
    shown = deployment.run("sh", "-euc", block.replace("PASTE-IT-HERE", answer.json()["request_id"]))
    # Some versions of Compose print a prefix in spite of the option.
    lines = [json.loads(line[line.index("{") :]) for line in shown.splitlines() if '"event"' in line]
    assert {line["logger"] for line in lines if line["event"] == "request"} == {"nginx", "gatepost.request"}
    assert "canceling statement due to lock timeout" in shown
