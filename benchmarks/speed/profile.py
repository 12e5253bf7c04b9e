"""Where the CPU of a request goes, layer by layer: `make bench-profile`.

Takes the CPU of a request from a run of wrk, then samples the workers by py-spy in a second one and divides that CPU as
the samples fall: each to the layer of the innermost frame that belongs to one. Only threads that hold the interpreter's
lock are seen, so what the kernel does for a layer counts for all layers alike. Prints a table; writes nothing.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.speed.__main__ import database, make_cases
from benchmarks.speed.servers import gatepost, limit
from benchmarks.speed.wrk import Load, Run, run

# A part of a frame's file, and its layer; the first that fits.
LAYERS = (
    ("app/ops/logs.py", "request log"),
    ("logging/__init__.py", "request log"),
    ("prometheus_client/", "metrics"),
    ("app/metrics.py", "metrics"),
    ("app/ops/measures.py", "metrics"),
    ("app/limits", "rate limits"),
    ("app/ratelimit.py", "rate limits"),
    ("flask_cors/", "CORS"),
    ("app/cors.py", "CORS"),
    ("app/ops/", "door and headers"),
    ("app/headers.py", "door and headers"),
    ("app/patience.py", "driver"),
    ("psycopg2/", "driver"),
    ("sqlalchemy/engine/default.py:do_execute", "driver"),
    ("app/engine.py", "pool"),
    ("sqlalchemy/pool/", "pool"),
    ("sqlalchemy/", "SQLAlchemy"),
    ("app/db.py", "SQLAlchemy"),
    ("app/wire.py", "HTTP server"),
    ("app/server.py", "HTTP server"),
    ("app/lanes.py", "HTTP server"),
    ("app/concurrency.py", "HTTP server"),
    ("app/readiness.py", "HTTP server"),
    ("app/refusing.py", "HTTP server"),
    ("app/resting.py", "HTTP server"),
    ("app/serving.py", "HTTP server"),
    ("app/lingering.py", "HTTP server"),
    ("gunicorn/", "HTTP server"),
    ("concurrent/futures/", "HTTP server"),
    ("app/auth/", "tokens and session"),
    ("app/guards.py", "tokens and session"),
    ("jwt/", "tokens and session"),
    ("argon2/", "password hash"),
    ("app/passwords.py", "password hash"),
    ("marshmallow/", "input and output"),
    ("app/dumping.py", "input and output"),
    ("app/json_reader.py", "input and output"),
    ("app/fields.py", "input and output"),
    ("app/etags.py", "input and output"),
    ("app/http.py", "pipeline"),
    ("app/body.py", "pipeline"),
    ("app/idempotency.py", "pipeline"),
    ("app/maintenance.py", "pipeline"),
    ("app/error_handlers.py", "pipeline"),
    ("app/", "views and services"),
    ("benchmarks/speed/limit.py", "views and services"),
    ("flask/", "Flask and Werkzeug"),
    ("werkzeug/", "Flask and Werkzeug"),
)
OTHER = "other"
SAMPLES_PER_SECOND = 250


def layer_of(stack: str) -> str:
    """Return the layer of a stack as py-spy writes it: frames from the outermost, 'function (file:line)', by ';'."""
    for frame in reversed(stack.split(";")):
        function, _, place = frame.partition(" (")
        path = place.rpartition(":")[0] or place
        for part, layer in LAYERS:
            file, _, name = part.partition(":")
            if f"/{file}" in f"/{path}" and name in ("", function):
                return layer
    return OTHER


def profile(url: str, load: Load, *, pid: int, seconds: int) -> tuple[Run, dict[str, float]]:
    """Load a server whose first process is `pid`; returns what wrk found, and microseconds a request by layer."""
    run(url, load, pid=pid, connections=64, seconds=2)
    found = run(url, load, pid=pid, connections=64, seconds=seconds)
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
        run(url, load, pid=pid, connections=64, seconds=seconds + 1)
        said, _ = sampler.communicate()
        if sampler.returncode:
            sys.exit(f"py-spy may not look into other processes here (try it as root):\n{said}")
        samples: Counter[str] = Counter()
        for line in record.read_text(encoding="utf-8").splitlines():
            stack, _, count = line.rpartition(" ")
            samples[layer_of(stack)] += int(count)
    total = sum(samples.values()) or 1
    return found, {layer: found.cpu_us * count / total for layer, count in samples.most_common()}


def main() -> None:
    """Profile the endpoints that were asked for."""
    parser = argparse.ArgumentParser(prog="make bench-profile", description=__doc__)
    parser.add_argument("--only", default="health,list,one post,me,create", help="names of endpoints, with commas")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--posts", type=int, default=20_000)
    parser.add_argument("--limit", action="store_true", help="the bare limit too")
    parser.add_argument("--database", default="postgresql", choices=("postgresql", "sqlite"))
    options = parser.parse_args()
    with database(options.database, options.posts) as url:
        with gatepost(url) as server:
            cases = [case for case in make_cases(server, options.posts) if case.ours.name in options.only.split(",")]
            table = {c.ours.name: profile(server.url, c.ours, pid=server.pid, seconds=options.seconds) for c in cases}
        if options.limit:
            with limit(url) as base:
                for case in cases:
                    if case.base is not None:
                        name = f"limit: {case.base.name}"
                        table[name] = profile(base.url, case.base, pid=base.pid, seconds=options.seconds)
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
