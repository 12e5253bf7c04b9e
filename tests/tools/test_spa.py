"""tools/spa.py: what `make spa` does after the Python packages are installed."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from app.settings import ROOT
from gatepost.testing.services import LOOPBACK, ServiceMissing, free_port, skip_or_fail
from tests.tools.test_serve import environment
from tools import javascript

COMMAND = [sys.executable, str(ROOT / "tools" / "spa.py")]
TIMEOUT_SECONDS = 120
POLL_SECONDS = 0.1


def origin_of(app_port: int) -> dict[str, str]:
    """Return the settings of an example app on this port."""
    return {"SPA_PORT": str(app_port), "CORS_ORIGINS": f"http://localhost:{app_port}"}


@pytest.fixture(scope="module", autouse=True)
def packages() -> None:
    """Install the locked packages of the app."""
    try:
        javascript.install()
    except javascript.NodeMissing as error:
        skip_or_fail(ServiceMissing(str(error)))


def wait_for(url: str, process: subprocess.Popen[str]) -> str:
    """Return the first response of a server."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            assert time.monotonic() < deadline, f"{url} does not answer"
            time.sleep(POLL_SECONDS)
    pytest.fail(f"the command exited with {process.returncode}")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_both_servers(tmp_path: Path, number: signal.Signals) -> None:
    api_port, app_port = free_port(), free_port()
    env = environment(tmp_path, api_port, **origin_of(app_port))
    with (
        (tmp_path / "log").open("w") as log,
        subprocess.Popen(COMMAND, env=env, stdout=log, stderr=log, text=True) as process,
    ):
        try:
            assert "healthy" in wait_for(f"http://{LOOPBACK}:{api_port}/health", process)
            assert '<div id="app">' in wait_for(f"http://localhost:{app_port}/", process)
            module = wait_for(f"http://localhost:{app_port}/src/state/api.ts", process)
            assert f"http://localhost:{api_port}" in module
            children = psutil.Process(process.pid).children(recursive=True)
            assert len(children) >= 3
            process.send_signal(number)
            assert process.wait(TIMEOUT_SECONDS) == 0
            assert psutil.wait_procs(children, timeout=TIMEOUT_SECONDS)[1] == []
        finally:
            process.kill()
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_used_port_is_reported_before_a_server_starts(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        env = environment(tmp_path, free_port(), **origin_of(port))
        answer = subprocess.run(COMMAND, env=env, capture_output=True, text=True, check=False, timeout=TIMEOUT_SECONDS)
    assert answer.returncode == 1
    assert f"Cannot listen on port {port} of {LOOPBACK}" in answer.stderr
    assert not (tmp_path / "gatepost.db").exists()
