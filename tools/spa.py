"""Serves the API and the example app: `make spa`. Ctrl-C, or the end of one of them, ends both.

bootstrap.py runs it in the virtual environment.
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

# The default of CORS_ORIGINS contains this port; another one must be added there.
APP_PORT = int(os.environ.get("SPA_PORT", "5173"))
STOP_SECONDS = 40
POLL_SECONDS = 0.1


class Stopped(Exception):
    """This process received a signal to stop."""


def main() -> int:
    """Start both servers, wait for the end, and return the exit code."""
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
        # A second Ctrl-C must not interrupt the shutdown.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        end(processes)


def serve(processes: list[subprocess.Popen[bytes]]) -> int:
    """Start the API and the app, add them to `processes`, and return an exit code when one of them ends."""
    javascript.install()
    host, port = split_address(load_settings().bind)
    if not port:
        print("BIND is a Unix socket, which browsers cannot use: set BIND=127.0.0.1:8000.", file=sys.stderr)
        return 1
    if problem := find_port_problem("127.0.0.1", APP_PORT):
        print(problem.partition(":")[0] + ": stop the program that uses it.", file=sys.stderr)
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
    print(f"The example app starts at http://localhost:{APP_PORT} (Ctrl-C stops it and the API).", flush=True)
    while all(process.poll() is None for process in processes):
        time.sleep(POLL_SECONDS)
    return next((process.returncode for process in processes if process.returncode), 1)


def end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Stop the processes: SIGTERM first, SIGKILL after STOP_SECONDS."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        # Its own child processes, such as a migration.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _start(command: list[str], environment: dict[str, str], folder: str = "") -> subprocess.Popen[bytes]:
    # In a new process group, so that Ctrl-C reaches only this process, which then stops both in order.
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
