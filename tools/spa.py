"""Serves the example app beside the API for a newcomer: `make spa`. Ctrl-C, or the end of either, ends both.

Run by bootstrap.py inside the virtual environment.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.path.insert(0, str(ROOT))

from app.settings import ConfigurationError, load_settings  # noqa: E402
from tools import javascript  # noqa: E402
from tools.serve import find_port_problem, split_address  # noqa: E402

# One of those that the API lets call it in development; another needs its origin in CORS_ORIGINS.
APP_PORT = int(os.environ.get("SPA_PORT", "5173"))
STOP_SECONDS = 40
POLL_SECONDS = 0.1


class Stopped(Exception):
    """Somebody pressed Ctrl-C, or asked this process to end."""


def main() -> int:
    """Start both and wait; return the exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    processes: list[subprocess.Popen[bytes]] = []
    try:
        return serve(processes)
    except (javascript.NodeMissing, javascript.NodeFailed, ConfigurationError) as error:
        print(error, file=sys.stderr)
        return 1
    except Stopped:
        return 0
    finally:
        # A second Ctrl-C must not leave one of them behind.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        end(processes)


def serve(processes: list[subprocess.Popen[bytes]]) -> int:
    """Start the API and the app, putting them into `processes`; return when one of them ends."""
    javascript.install()
    host, port = split_address(load_settings().bind)
    if not port:
        print("BIND names a socket, which no browser can call: set BIND=127.0.0.1:8000.", file=sys.stderr)
        return 1
    if problem := find_port_problem("127.0.0.1", APP_PORT):
        print(problem.partition(":")[0] + ": stop what listens there.", file=sys.stderr)
        return 1
    processes.append(_start([sys.executable, "tools/serve.py"], {}))
    url = f"http://localhost:{port}" if host in ("127.0.0.1", "0.0.0.0", "localhost") else f"http://{host}:{port}"
    vite = [
        "node",
        str(ROOT / "node_modules" / "vite" / "bin" / "vite.js"),
        "--clearScreen",
        "false",
        "--port",
        str(APP_PORT),
    ]
    processes.append(_start(vite, {"VITE_API_URL": url + load_settings().service_prefix}, "examples/spa"))
    print(f"The example app will be at http://localhost:{APP_PORT} (Ctrl-C stops it and the API).", flush=True)
    while all(process.poll() is None for process in processes):
        time.sleep(POLL_SECONDS)
    return next((process.returncode for process in processes if process.returncode), 1)


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End what still runs, gently first."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Whatever it had started itself, such as a migration.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _start(command: list[str], environment: dict[str, str], folder: str = "") -> subprocess.Popen[bytes]:
    # In a group of its own, so that Ctrl-C reaches this process alone, which then ends both in order.
    return subprocess.Popen(
        command,
        cwd=ROOT / folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        process_group=0,
    )


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped


if __name__ == "__main__":
    sys.exit(main())
