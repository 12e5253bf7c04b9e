"""Where the CPU of a request goes, layer by layer: `make bench-profile`.

Takes the CPU of a request from a run of wrk, and of that what the threads that hash passwords had, by the kernel's
account: they hold no lock of the interpreter while they do. Then samples the workers by py-spy in a second run and
divides the rest as the samples fall: each to the layer of the innermost frame that belongs to one. Only threads that
hold the interpreter's lock are seen, so what the kernel does for a layer counts for all layers alike. Prints a table;
writes nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import psutil

from benchmarks.processors import processors_of
from benchmarks.speed.__main__ import database, make_cases, renewed
from benchmarks.speed.servers import gatepost, limit
from benchmarks.speed.wrk import Load, Run, run

HASHING = "password hash"
# The parts of a frame's file that belong to a layer; the first that fits. A function's name may follow.
LAYERS = {
    "request log": ("app/observability/logs.py", "logging/__init__.py"),
    "metrics": ("prometheus_client/", "app/observability/metrics.py", "app/observability/instrumentation.py"),
    "rate limits": ("app/limits_", "app/security/rate_limits/__init__.py"),
    "CORS": ("flask_cors/", "app/api/middleware/cors.py"),
    "door and headers": ("app/ops/", "app/api/middleware/headers.py"),
    "driver and rows": (
        *(
            "app/database/deadlines.py",
            "app/database/executor.py",
            "psycopg2/",
            "sqlalchemy/engine/default.py:do_execute",
            "sqlite3/",
        ),
    ),
    "pool": ("app/database/engine.py", "sqlalchemy/pool/"),
    "SQLAlchemy": ("sqlalchemy/", "app/database/__init__.py"),
    "HTTP server": (
        *("app/arbiter.py", "app/concurrency.py", "app/ending.py", "app/lanes.py", "app/lingering.py"),
        *("app/readiness.py", "app/refusing.py", "app/resting.py", "app/sending.py", "app/server.py", "app/serving.py"),
        *("app/shares.py", "app/watching.py", "app/wire.py", "gunicorn/", "concurrent/futures/"),
    ),
    "tokens and session": ("app/auth/", "app/api/access.py", "jwt/"),
    HASHING: ("argon2/", "app/security/passwords.py"),
    "input and output": (
        *(
            "marshmallow/",
            "app/api/serialization.py",
            "app/api/json_parser.py",
            "app/api/fields.py",
            "app/api/conditional.py",
        ),
    ),
    "pipeline": (
        "app/api/endpoint.py",
        "app/api/request_body.py",
        "app/api/idempotency/service.py",
        "app/maintenance/service.py",
        "app/api/errors/handlers.py",
    ),
    "views and services": ("app/", "benchmarks/speed/limit.py"),
    "Flask and Werkzeug": ("flask/", "werkzeug/"),
}
OTHER = "other"
SAMPLES_PER_SECOND, CONNECTIONS = 250, 64


def layer_of(stack: str) -> str:
    """Return the layer of a stack as py-spy writes it: frames from the outermost, 'function (file:line)', by ';'."""
    for frame in reversed(stack.split(";")):
        function, _, place = frame.partition(" (")
        path = place.rpartition(":")[0] or place
        for layer, parts in LAYERS.items():
            for part in parts:
                file, _, name = part.partition(":")
                if f"/{file}" in f"/{path}" and name in ("", function):
                    return layer
    return OTHER


def profile(url: str, make_load: Callable[[], Load], *, pid: int, seconds: int) -> tuple[Run, dict[str, float]]:
    """Load a server whose first process is `pid`; returns what wrk found, and microseconds a request by layer.

    `make_load` is asked for each run: a refresh token is used but once.
    """
    run(url, make_load(), pid=pid, connections=CONNECTIONS, seconds=2)
    workers, load = [child.pid for child in psutil.Process(pid).children()], make_load()
    before = processors_of(workers)
    found = run(url, load, pid=pid, connections=CONNECTIONS, seconds=seconds)
    hashing_us = found.cpu_us * processors_of(workers).share_since(before)
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "stacks"
        sampler = subprocess.Popen(
            [
                *(str(Path(sys.executable).with_name("py-spy")), "record", "--subprocesses", "--gil"),
                *("--format", "raw", "--output", str(record), "--rate", str(SAMPLES_PER_SECOND), "--full-filenames"),
                *("--duration", str(seconds), "--pid", str(pid)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        run(url, make_load(), pid=pid, connections=CONNECTIONS, seconds=seconds + 1)
        said, _ = sampler.communicate()
        if sampler.returncode:
            sys.exit(f"py-spy may not look into other processes here (try it as root):\n{said}")
        samples: Counter[str] = Counter()
        for line in record.read_text(encoding="utf-8").splitlines():
            stack, _, count = line.rpartition(" ")
            samples[layer_of(stack)] += int(count)
    # What its thread did with the lock is counted already.
    del samples[HASHING]
    rest_us = (found.cpu_us - hashing_us) / (sum(samples.values()) or 1)
    shares = {layer: rest_us * count for layer, count in samples.items()}
    return found, shares | ({HASHING: hashing_us} if hashing_us else {})


def main() -> None:
    """Profile the endpoints that were asked for."""
    parser = argparse.ArgumentParser(prog="make bench-profile", description=__doc__)
    parser.add_argument(
        "--only", default="health,list,one post,me,create,refresh,login", help="names of endpoints, with commas"
    )
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--limit", action="store_true", help="the bare limit too")
    parser.add_argument("--database", default="postgresql", choices=("postgresql", "sqlite"))
    options = parser.parse_args()
    with database(options.database, options.posts) as url:
        with gatepost(url) as server:
            cases = [case for case in make_cases(server, options.posts) if case.ours.name in options.only.split(",")]
            table = {
                case.ours.name: profile(
                    server.url,
                    partial(renewed, server, case.ours, CONNECTIONS),
                    pid=server.pid,
                    seconds=options.seconds,
                )
                for case in cases
            }
        if options.limit:
            with limit(url) as base:
                for case in cases:
                    if case.base is not None:
                        name = f"limit: {case.base.name}"
                        load = partial(replace, case.base)
                        table[name] = profile(base.url, load, pid=base.pid, seconds=options.seconds)
    print(as_table(table))


def as_table(table: dict[str, tuple[Run, dict[str, float]]]) -> str:
    """Return Markdown: a row for each layer, a column for each endpoint, microseconds of CPU a request."""
    layers = sorted(
        {layer for _, shares in table.values() for layer in shares},
        key=lambda layer: -sum(shares.get(layer, 0) for _, shares in table.values()),
    )
    lines = [f"| CPU µs a request | {' | '.join(table)} |", f"|---|{'---|' * len(table)}"]
    lines += [
        f"| {layer} | {' | '.join(f'{shares.get(layer, 0):.0f}' for _, shares in table.values())} |" for layer in layers
    ]
    lines.append(f"| all | {' | '.join(f'{found.cpu_us:.0f}' for found, _ in table.values())} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
