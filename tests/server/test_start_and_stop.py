"""Starting, reloading and stopping: one clear message or no lost request."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.server.small_server import (
    GET,
    ROOT,
    SECRET,
    read_answer,
    read_to_end,
    receive,
    request,
    serving,
    wait_until,
)
from tests.support.services import LOOPBACK, free_port
from tests.support.services.process import ServerProcess, bare_environment


def test_stop_serves_what_has_come_and_ends_with_0(tmp_path: Path) -> None:
    with serving(tmp_path, WEB_THREADS="1", MAX_QUEUE_MS="10000") as server, contextlib.ExitStack() as stack:
        idle = stack.enter_context(server.connect())
        idle.sendall(request(GET))
        receive(idle)
        silent = stack.enter_context(server.connect())
        running = stack.enter_context(server.connect())
        running.sendall(request("GET /sleep HTTP/1.1"))
        time.sleep(0.3)
        queued = stack.enter_context(server.connect())
        queued.sendall(request("GET /sleep HTTP/1.1"))
        began = time.monotonic()
        assert server.process.stop(signal.SIGTERM, timeout_seconds=20) == 0
        assert time.monotonic() - began < 10
        assert read_answer(read_to_end(running))[0].status == 200
        answer = read_answer(read_to_end(queued))[0]
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert (idle.recv(1), silent.recv(1)) == (b"", b"")


def test_stop_serves_those_the_kernel_has_queued(tmp_path: Path) -> None:
    with serving(tmp_path) as server, contextlib.ExitStack() as stack:
        server.process.freeze()
        clients = [stack.enter_context(server.connect()) for _ in range(6)]
        for client in clients:
            client.sendall(request(GET))
        for process in [*server.process.children(), psutil.Process(server.process.pid)]:
            process.send_signal(signal.SIGTERM)
        assert server.process.stop(signal.SIGTERM, timeout_seconds=20) == 0
        assert [read_answer(read_to_end(client))[0].status for client in clients] == [200] * 6


def test_stop_does_not_wait_for_a_worker_that_is_being_born(tmp_path: Path) -> None:
    changes = """
        import time
        begin = post_fork
        def post_fork(arbiter, worker):
            time.sleep(1)
            begin(arbiter, worker)
    """
    with serving(tmp_path, changes) as server:
        server.process.children()[0].kill()
        while server.process.log_text().count("Booting worker") < 2:
            time.sleep(0.01)
        began = time.monotonic()
        assert server.process.stop(signal.SIGTERM, timeout_seconds=20) == 0
        assert time.monotonic() - began < 6


def test_recycled_and_reloaded_workers_lose_no_request(tmp_path: Path) -> None:
    changes = "max_requests, max_requests_jitter = 40, 20"
    with serving(tmp_path, changes, WEB_CONCURRENCY="2") as server:
        failures: list[str] = []
        finished = threading.Event()

        def ask_again_and_again() -> None:
            while not finished.is_set():
                try:
                    assert server.ask(request(GET, "Connection: close")).status == 200
                except (OSError, AssertionError, ValueError) as error:
                    failures.append(repr(error))

        threads = [threading.Thread(target=ask_again_and_again) for _ in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(3)
        for _ in range(2):
            psutil.Process(server.process.pid).send_signal(signal.SIGHUP)
            time.sleep(1)
        finished.set()
        for thread in threads:
            thread.join()
        assert failures == []
        assert server.process.log_text().count("Autorestarting") > 3


def test_home_and_a_control_socket_are_not_needed(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with serving(tmp_path, HOME=str(home), XDG_RUNTIME_DIR=str(home)) as server:
        assert server.is_up()
        assert list(home.iterdir()) == []
    with serving(tmp_path, HOME="/nonexistent") as server:
        assert server.is_up()
        assert "control socket" not in server.process.log_text().lower()


@pytest.mark.parametrize(
    "command",
    [
        ["-m", "gunicorn", "-c", "gunicorn.conf.py", "run:app"],
        ["run.py"],
        ["run.py", "--reload"],
    ],
)
def test_bad_settings_end_the_start_with_one_message(command: list[str]) -> None:
    env = {
        **{name: value for name, value in bare_environment().items() if name != "HOME"},
        "APP_ENV": "production",
        "JWT_SECRET_KEY": "short",
        "WEB_THREADS": "none",
        # gunicorn itself breaks over this one before it reads our configuration.
        **({"WEB_CONCURRENCY": "many"} if command[0] == "run.py" else {}),
        "BIND": f"{LOOPBACK}:{free_port()}",
    }
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.count("Gatepost cannot start") == 1
    for name in ("JWT_SECRET_KEY", "WEB_THREADS", "DATABASE_URL", "CORS_ORIGINS"):
        assert ended.stderr.count(f"  {name}: ") == 1
    assert "Traceback" not in ended.stderr
    assert "gunicorn" not in ended.stderr


SUPERVISED = """
import sys
from pathlib import Path
from app import serve
serve.ROOT, serve.POLL_SECONDS = Path(sys.argv[1]), 0.02
sys.orig_argv = [sys.executable, sys.argv[1] + "/run.py", "--reload", "kept"]
serve.restart_on_change()
"""


@contextlib.contextmanager
def supervising(root: Path, source: str) -> Iterator[subprocess.Popen[str]]:
    """The --reload supervisor of a `root` of its own, whose run.py is `source`."""
    (root / "app").mkdir()
    (root / "run.py").write_text(source)
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISED, str(root)],
        cwd=ROOT, env=bare_environment(), stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield supervisor
    finally:
        if supervisor.poll() is None:
            supervisor.send_signal(signal.SIGINT)
        supervisor.communicate(timeout=20)


def test_reload_restarts_after_each_change_also_of_a_broken_file(tmp_path: Path) -> None:
    source = "import os, sys, time\nprint(os.getpid(), sys.argv[1:], flush=True)\ntime.sleep(60)\n"
    with supervising(tmp_path, source) as supervisor:
        assert supervisor.stdout is not None
        first, rest = supervisor.stdout.readline().split(" ", 1)
        assert rest == "['kept']\n"
        (tmp_path / "run.py").write_text("print('broken', flush=True)\nraise SystemExit(3)\n")
        assert supervisor.stdout.readline() == "broken\n"
        assert not psutil.pid_exists(int(first))
        (tmp_path / "run.py").write_text(source)
        (tmp_path / "app" / "new.py").touch()
        last = int(supervisor.stdout.readline().split()[0])
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(timeout=20) == 0
        assert not psutil.pid_exists(last)


def test_reload_ends_when_the_first_start_fails(tmp_path: Path) -> None:
    with supervising(tmp_path, "raise SystemExit(3)") as supervisor:
        assert supervisor.wait(timeout=20) == 3


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--certfile", "/etc/hostname"], "TLS ends at the proxy"),
        ([], "--reload works on the command line alone"),
    ],
)
def test_options_that_cannot_work_are_refused(options: list[str], reason: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "gunicorn", "-c", "gunicorn.conf.py", *options, "json:loads"],
        cwd=ROOT,
        env={
            **bare_environment(),
            "APP_ENV": "testing",
            "JWT_SECRET_KEY": SECRET,
            "BIND": f"{LOOPBACK}:{free_port()}",
            "GUNICORN_CMD_ARGS": "" if options else "--reload",
        },
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert reason in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("options", [[], ["--reload"]])
def test_run_py_serves_as_production_does(tmp_path: Path, options: list[str]) -> None:
    port = free_port()
    process = ServerProcess("run.py", tmp_path / "log", signal.SIGINT)

    def is_healthy() -> bool:
        try:
            with socket.create_connection((LOOPBACK, port), timeout=5) as client:
                client.sendall(request("GET /health HTTP/1.1", "Connection: close"))
                answer = read_answer(read_to_end(client))[0]
        except OSError:
            return False
        return answer.status == 200 and answer.headers["server"] == "gatepost"

    process.start(
        [sys.executable, ROOT / "run.py", *options],
        is_healthy,
        timeout_seconds=30,
        cwd=tmp_path,
        env={
            **bare_environment(),
            "APP_ENV": "testing",
            "JWT_SECRET_KEY": SECRET,
            "DATABASE_URL": f"sqlite:///{tmp_path}/gatepost.db",
            "RATELIMIT_DIR": str(tmp_path / "limits"),
            "WEB_CONCURRENCY": "",
            "BIND": f"{LOOPBACK}:{port}",
        },
    )
    try:
        assert process.log_text().count("Starting gunicorn") == 1
        assert process.stop(signal.SIGINT, timeout_seconds=20) == 0
        assert "Traceback" not in process.log_text()
    finally:
        process.kill()


# In the midst of starting a thread, when its pool's lock is held, a worker that is to end at once hears of it.
QUIT_IN_THE_MIDST = """
import os, signal, threading
from concurrent.futures import ThreadPoolExecutor
from app.concurrency import Turnstile
count, start, end = ThreadPoolExecutor._adjust_thread_count, threading.Thread.start, Turnstile.open_for_good

def quit():
    if os.path.exists({mark!r}):
        os.unlink({mark!r})
        os.kill(os.getpid(), signal.{first})

def counted(pool):
    count(pool)
    if {is_known}:
        quit()

def started(thread):
    start(thread)
    if not {is_known}:
        quit()

def ended(turnstile):
    # Again, when it is about to end.
    os.kill(os.getpid(), signal.SIGQUIT)
    end(turnstile)

ThreadPoolExecutor._adjust_thread_count, threading.Thread.start, Turnstile.open_for_good = counted, started, ended
"""


@pytest.mark.parametrize("first", ["SIGQUIT", "SIGINT"])
@pytest.mark.parametrize("is_known", [True, False], ids=["known to the pool", "not yet known"])
def test_a_worker_can_be_ended_while_it_starts(tmp_path: Path, first: str, is_known: bool) -> None:
    mark = tmp_path / "mark"
    changes = QUIT_IN_THE_MIDST.format(mark=str(mark), first=first, is_known=is_known)
    with serving(tmp_path, changes) as server:
        mark.touch()
        psutil.Process(server.process.pid).send_signal(signal.SIGHUP)
        wait_until(lambda: server.process.log_text().count("Worker exiting") >= 2)
        wait_until(server.is_up)
        assert not mark.exists()
        assert server.process.stop(signal.SIGINT, timeout_seconds=10) == 0
