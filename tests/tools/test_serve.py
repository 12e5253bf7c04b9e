"""tools/serve.py: what `make run` does after the packages are installed."""

from __future__ import annotations

import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import ROOT
from gatepost.testing.services import LOOPBACK, free_port
from gatepost.testing.services.process import ServerProcess, bare_environment
from tools.serve import find_port_problem, split_address

COMMAND = [sys.executable, str(ROOT / "tools" / "serve.py")]
START_SECONDS = 60


def environment(tmp_path: Path, port: int, **changes: str) -> dict[str, str]:
    """Return an environment with a temporary database."""
    return {
        **bare_environment(),
        "APP_ENV": "testing",
        "JWT_SECRET_KEY": "k" * 20 + "0123456789abcdef",
        "DATABASE_URL": f"sqlite:///{tmp_path / 'gatepost.db'}",
        "BIND": f"{LOOPBACK}:{port}",
        **changes,
    }


def start_and_fail(env: dict[str, str]) -> str:
    """Run the command, which must fail, and return its message."""
    answer = subprocess.run(COMMAND, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 1
    assert answer.stdout == ""
    return answer.stderr


def test_a_used_port_is_reported_before_the_database_is_created(tmp_path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        reason = os.strerror(errno.EADDRINUSE)
        assert start_and_fail(environment(tmp_path, port)) == (
            f"Cannot listen on port {port} of {LOOPBACK} ({reason}): stop the program that uses it, "
            f"or choose another port with BIND={LOOPBACK}:{port + 1} make run.\n"
        )
    assert not (tmp_path / "gatepost.db").exists()


def test_invalid_settings_are_reported_without_a_traceback(tmp_path: Path) -> None:
    message = start_and_fail(environment(tmp_path, 1, WEB_THREADS="many"))
    assert "WEB_THREADS" in message
    assert "Traceback" not in message


def test_it_migrates_serves_prints_the_next_steps_and_ends_on_ctrl_c(tmp_path: Path) -> None:
    port = free_port()
    server = ServerProcess("make run", tmp_path / "log", signal.SIGTERM)

    def answers() -> bool:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=2)
        try:
            connection.request("GET", "/front/health/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    env = environment(tmp_path, port, SERVICE_PREFIX="/front")
    server.start(COMMAND, answers, timeout_seconds=START_SECONDS, env=env)
    url = f"http://{LOOPBACK}:{port}/front"
    lines = server.log_text().splitlines()
    first = lines.index(f"Gatepost is running at {url} (Ctrl-C stops it).")
    assert lines[first + 1].startswith(f"Sign up:  curl {url}/api/v1/auth/register -H ")
    assert lines[first + 2].startswith("Next:     read the tour in README.md")
    assert server.stop(signal.SIGINT, timeout_seconds=20) == 0
    assert "Traceback" not in server.log_text()


@pytest.mark.parametrize(
    ("bind", "address"),
    [
        ("127.0.0.1:8000", ("127.0.0.1", 8000)),
        (":8000", ("0.0.0.0", 8000)),
        ("[::1]:8000", ("::1", 8000)),
        ("unix:/run/gatepost.sock", ("unix:/run/gatepost.sock", 0)),
    ],
)
def test_every_form_of_bind_is_parsed(bind: str, address: tuple[str, int]) -> None:
    assert split_address(bind) == address


def test_a_port_with_connections_in_time_wait_is_free() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection((LOOPBACK, port)), server.accept()[0]:
            pass
    assert find_port_problem(LOOPBACK, port) is None
