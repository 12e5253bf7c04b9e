"""docs/operations.md names what there is, all of it, and nothing else."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import click
import pytest
from flask.cli import FlaskGroup, ScriptInfo
from prometheus_client import REGISTRY
from prometheus_client.metrics_core import Metric

from app import create_app
from app.settings import Settings
from tests.conftest import ROOT, settings_for

GUIDE = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
START_NGINX = (ROOT / "ops/nginx/start.sh").read_text(encoding="utf-8")
METRICS_OF_NGINX = set(re.findall(r"# TYPE (\w+) ", START_NGINX))
PRODUCTION_ENV = (ROOT / "tools/production_env.py").read_text(encoding="utf-8")
# Variables that libpq, Flask and prometheus_client read.
FOREIGN = {"PGOPTIONS", "FLASK_APP", "PROMETHEUS_MULTIPROC_DIR"}


def section(title: str) -> str:
    """Return what stands below a heading, up to the next of its kind or above."""
    level, _, rest = GUIDE.partition(f"# {title}\n")
    assert rest, title
    marks = len(level) - len(level.rstrip("#")) + 1
    return re.split(rf"^#{{1,{marks}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def rows(title: str) -> dict[str, list[str]]:
    """Return the rows of the tables below a heading whose first cell is a name: the other cells by it."""
    found = re.findall(r"^\| `(\w+)` \|(.*)\|$", section(title), re.MULTILINE)
    assert found, title
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in found}


def blocks(language: str) -> list[str]:
    """Return every fenced block of this language."""
    return re.findall(rf"^```{language}\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)


def test_every_alert_has_its_section_and_no_other_has() -> None:
    alerts = re.findall(r"- alert: (\w+)", (ROOT / "ops/alerts.yml").read_text(encoding="utf-8"))
    described = re.findall(r"^### (\w+)$", section("Alerts"), re.MULTILINE)
    assert alerts
    assert described == alerts
    assert all(len(section(name).split()) > 10 for name in alerts)


def exposed(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name


def test_every_metric_is_described_and_no_other_is() -> None:
    metrics = {exposed(metric) for metric in REGISTRY.collect() if metric.name.startswith("gatepost_")}
    assert metrics
    metrics |= METRICS_OF_NGINX
    assert rows("Metrics").keys() == metrics
    # No network, no cookie and no path of this name.
    named = set(re.findall(r"\bgatepost_[a-z_]+", GUIDE)) - {"gatepost_front", "gatepost_refresh"}
    assert named == metrics


def test_every_setting_of_nginx_has_its_default() -> None:
    defaults = dict(re.findall(r'^: "\$\{(NGINX_\w+):=(.*)\}"$', START_NGINX, re.MULTILINE))
    described = {name: cells[0].strip("`") for name, cells in rows("Settings").items() if name.startswith("NGINX_")}
    assert described == defaults


def test_no_setting_is_named_that_is_not_there() -> None:
    known = {name.upper() for name in Settings.__dataclass_fields__} | FOREIGN
    for text in (
        COMPOSE,
        START_NGINX,
        PRODUCTION_ENV,
        (ROOT / "app/observability/tracing.py").read_text(encoding="utf-8"),
    ):
        known |= set(re.findall(r"[A-Z][A-Z_]*[A-Z]", text))
    # Capitals that are a variable: alone in backticks, assigned, or of a family.
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)(?:=[^`]*)?`", GUIDE))
    named |= set(re.findall(r"\b((?:DRAIN|MAX_QUEUE|NGINX|DB|JWT|RATELIMIT|WEB|REFRESH|LOG)_[A-Z_]*[A-Z])\b", GUIDE))
    assert {"MAX_QUEUE_MS", "TLS_DIR"} <= named
    assert named - known == {"NAME_FILE"}


def test_every_flask_command_exists(tmp_path: Path) -> None:
    app = create_app(settings_for(f"sqlite:///{tmp_path / 'unused.db'}"))
    flask = FlaskGroup(create_app=lambda: app)
    named = set(re.findall(r"flask (?:--app run )?([a-z]+ [a-z][a-z-]*)((?: --[a-z-]+)*)", GUIDE))
    assert {"db upgrade", "sessions prune", "users create-admin", "maintenance on"} <= {path for path, _ in named}
    # Closed at the end: looking a command up enters the application's context.
    with click.Context(flask, obj=ScriptInfo(create_app=lambda: app)) as context:
        for path, _ in named:
            command: click.Command | None = flask
            for word in path.split():
                assert isinstance(command, click.Group), path
                command = command.get_command(context, word)
            assert command is not None, path
            for line in re.findall(rf"flask (?:--app run )?{path} (--.*)", GUIDE):
                options = {option for parameter in command.params for option in parameter.opts}
                assert set(re.findall(r"--[a-z-]+", line.partition("`")[0])) <= options, line


def test_every_make_target_and_script_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", GUIDE, re.MULTILINE))
    assert {"up", "down", "upgrade"} <= named <= targets
    paths = set(re.findall(r"\b(?:ops|app|docs)/[\w./-]+\w|\brequirements[\w-]*\.txt", GUIDE))
    assert {"ops/upgrade.sh", "ops/nginx/start.sh", "ops/alerts.yml"} <= paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_service_of_compose_that_is_named_exists() -> None:
    services = set(re.findall(r"^  ([a-z]+):$", COMPOSE.partition("\nservices:\n")[2], re.MULTILINE))
    assert {"db", "app", "nginx"} <= services
    named = set(re.findall(r"docker compose (?:exec|stop|ps|run)(?: --?[\w-]+)* ([a-z]+)", GUIDE))
    named |= set(re.findall(r"--scale ([a-z]+)=", GUIDE))
    assert {"app", "db"} <= named <= services


def test_every_link_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", GUIDE, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]+)\)", GUIDE):
        page, _, anchor = target.partition("#")
        assert (ROOT / "docs" / page).exists(), target
        assert not anchor or anchor in headings, target


def test_every_event_of_the_log_is_one_that_is_written() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "app").rglob("*.py"))
    events = re.findall(r"^\| `([A-Za-z ]+)` \| ", section("Logs").partition("| Event |")[2], re.MULTILINE)
    assert len(events) > 5
    # The circuit breaker writes the name of the service and what happened to it.
    code += '"database outage" "database recovered" "redis outage" "redis recovered"'
    assert [event for event in events if f'"{event}' not in code] == []


def test_every_block_of_commands_is_a_shell_s() -> None:
    commands = blocks("sh")
    assert len(commands) > 15
    for text in commands:
        answer = subprocess.run(["sh", "-n"], input=text, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, f"{text}\n{answer.stderr}"


def test_prometheus_scrapes_under_the_name_that_the_alerts_know() -> None:
    rules = (ROOT / "ops/alerts.yml").read_text(encoding="utf-8")
    jobs = set(re.findall(r'job="(\w+)"', rules + GUIDE))
    assert set(re.findall(r"job_name: (\w+)", GUIDE)) == jobs == {"gatepost"}


def test_what_nginx_could_not_have_answered_is_found_in_its_log(tmp_path: Path) -> None:
    """The command, with a docker that shows lines of nginx.conf's own format."""
    form = "".join(re.findall(r"^ +'(\{?\".*)'", (ROOT / "nginx.conf").read_text(encoding="utf-8"), re.MULTILINE))
    assert form.count('"') > 30
    lines = [re.sub(r"\$\w+", "502", form.replace("$status", status)) for status in ("200", "502", "503", "504", "429")]
    (tmp_path / "log").write_text("\n".join([*lines, ""]))
    (tmp_path / "docker").write_text(f"#!/bin/sh\ncat {tmp_path}/log\n")
    (tmp_path / "docker").chmod(0o755)
    (command,) = (block for block in blocks("sh") if "grep -c" in block)
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    answer = subprocess.run(["sh", "-c", command], env=environment, capture_output=True, text=True, check=True)
    assert answer.stdout == "2\n"


@pytest.mark.parametrize("prefix", ["", "nginx-1  | "])
def test_one_request_is_found_in_the_logs_of_all_services(tmp_path: Path, prefix: str) -> None:
    """The commands, with a docker that shows the logs of the services that are asked for."""
    logs = {
        "nginx": ['{"event":"request","request_id":"abc","path":"/x"}', '{"event":"request","request_id":"abcd"}'],
        "app": ['{"event":"request","request_id":"abc","route":"/x"}', '{"event":"request","request_id":"other"}'],
        "db": ["LOG:  checkpoint", "ERROR:  canceling", "STATEMENT:  SELECT 1", "\tFROM x /* request_id=abc */"],
    }
    for service, lines in logs.items():
        (tmp_path / service).write_text("".join(f"{prefix}{line}\n" for line in lines))
    script = 'for service; do [ ! -e "$LOGS/$service" ] || cat "$LOGS/$service"; done'
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "docker").chmod(0o755)
    (command,) = (block for block in blocks("sh") if "PASTE-IT-HERE" in block)
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "LOGS": str(tmp_path)}
    command = command.replace("PASTE-IT-HERE", "abc")
    answer = subprocess.run(["sh", "-euc", command], env=environment, capture_output=True, text=True, check=True)
    expected = [logs["nginx"][0], logs["app"][0], *logs["db"]]
    assert answer.stdout.splitlines() == [prefix + line for line in expected]


def test_both_passwords_are_in_the_file_while_the_database_s_is_changed(tmp_path: Path) -> None:
    """The commands without compose, with a psql that shows the file."""
    file = tmp_path / "password"
    file.write_text("old\n")
    file.chmod(0o640)
    (tmp_path / "psql").write_text(f"#!/bin/sh\ncat {file}; cat\n")
    (tmp_path / "psql").chmod(0o755)
    (command,) = (block for block in blocks("sh") if "FILE.new" in block)
    command = command.replace("/etc/gatepost/database/password", str(file))
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "ADMIN_URL": "postgresql://"}
    answer = subprocess.run(["sh", "-euc", command], env=environment, capture_output=True, text=True, check=True)
    (new,) = file.read_text().splitlines()
    assert len(new) > 30
    assert answer.stdout.splitlines() == ["old", new, f"ALTER ROLE gatepost PASSWORD '{new}'"]
    assert file.stat().st_mode & 0o777 == 0o640


def test_the_packages_for_traces_can_get_into_the_image() -> None:
    (named,) = re.findall(r"^GATEPOST_REQUIREMENTS=(.*)$", GUIDE, re.MULTILINE)
    assert "REQUIREMENTS: ${GATEPOST_REQUIREMENTS:-requirements.txt}" in COMPOSE
    assert "\nARG REQUIREMENTS=requirements.txt\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
    let_in = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for name in ("requirements.txt", named):
        assert (ROOT / name).exists()
        assert f"!{name}" in let_in


def seconds(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    assert found, pattern
    return int(found[1])


def test_whoever_stops_the_service_waits_for_it() -> None:
    needed = int(rows("Settings")["GRACEFUL_TIMEOUT_SECONDS"][0].strip("`"))
    app = COMPOSE.partition("\n  app:\n")[2]
    given = seconds(r"stop_grace_period: \$\{APP_STOP_SECONDS:-(\d+)\}s", app)
    assert given > needed
    assert f"{given} by default" in rows("Deploy with Docker Compose")["APP_STOP_SECONDS"][0]
    assert seconds(r"terminationGracePeriodSeconds: (\d+)", GUIDE) > needed
    assert seconds(r"TimeoutStopSec=(\d+)", GUIDE) > needed


def test_nginx_may_finish_its_requests_when_it_is_stopped() -> None:
    config = (ROOT / "nginx.conf").read_text(encoding="utf-8")
    longest = seconds(r"\nworker_shutdown_timeout (\d+)s;", config)
    assert longest > seconds(r"NGINX_APP_TIMEOUT:=(\d+)s", START_NGINX)
    assert seconds(r"stop_grace_period: (\d+)s", COMPOSE.partition("\n  nginx:\n")[2]) > longest


def test_kubernetes_restarts_on_health_and_routes_by_readiness() -> None:
    (manifest,) = (text for text in blocks("yaml") if "kind: Deployment" in text)
    probes = dict(re.findall(r"(\w+)Probe:\n +httpGet: \{path: ([\w/]+),", manifest))
    assert probes == {"startup": "/health", "liveness": "/health", "readiness": "/health/ready"}
