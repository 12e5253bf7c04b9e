"""Runs Schemathesis once: against a new server with an empty database, as one kind of caller."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gatepost.testing.services.gatepost import NO_COVERAGE, ROOT, GatepostServer
from gatepost.testing.services.postgres import PostgresServer
from gatepost.testing.services.process import private_folder
from tests.conftest import PATIENT, migrate
from tests.fuzzing.plan import CALLER, MIN_TEST_CASES_PER_RUN, Caller, Share, share_of

CONFIG = "tests/fuzzing/schemathesis.toml"
# A guard against a server that hangs. On a busy machine a response may be slow.
RESPONSE_SECONDS = 60


@dataclass(frozen=True)
class Outcome:
    """The result of a run. `tracebacks` are those in the log of the server, `output` is that of Schemathesis."""

    cases: int
    failures: int
    exit_code: int
    seconds: float
    tracebacks: int
    output: str

    @property
    def is_clean(self) -> bool:
        """Whether no check failed, all checks could run, and the server logged no traceback."""
        return self.exit_code == 0 and self.failures == 0 and self.tracebacks == 0


@contextmanager
def server_on(
    backend: str, postgres: PostgresServer | None, application: str
) -> Iterator[tuple[GatepostServer, dict[str, str]]]:
    """Start a server with an empty database, and yield it with its environment."""
    folder = private_folder("fuzzing")
    name = f"fuzzing_{secrets.token_hex(4)}"
    url = f"sqlite:///{folder / 'gatepost.db'}"
    if backend == "postgresql":
        assert postgres is not None
        url = postgres.create_database(name)
    environment = {
        "APP_ENV": "testing",
        "DATABASE_URL": url,
        "JWT_SECRET_KEY": secrets.token_urlsafe(48),
        "RATELIMIT_ENABLED": "false",
        "LOG_LEVEL": "ERROR",
        **NO_COVERAGE,
        **PATIENT,
    }
    try:
        migrate(url)
        with GatepostServer(environment, application) as server:
            yield server, environment
    finally:
        if postgres is not None and backend == "postgresql":
            postgres.drop_database(name)
        shutil.rmtree(folder, ignore_errors=True)


def fuzz(
    backend: str,
    caller: Caller,
    share: Share,
    postgres: PostgresServer | None = None,
    *,
    application: str = "run:app",
    only: str = "",
) -> Outcome:
    """Run Schemathesis against a server on `backend` as `caller`, on the paths that match `only` if it is given."""
    began = time.monotonic()
    with server_on(backend, postgres, application) as (server, environment), _folder() as folder:
        report = folder / "report.json"
        process = subprocess.run(
            [
                *_command(server.url, share),
                "--report-json-path",
                str(report),
                *(("--include-path-regex", only) if only else ()),
            ],
            cwd=ROOT,
            env={
                **os.environ,
                **environment,
                CALLER: caller,
                "SCHEMATHESIS_HOOKS": "tests.fuzzing.hooks",
                "PYTHONPATH": str(ROOT),
                "NO_COLOR": "1",
                "COLUMNS": "120",
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        results: dict[str, Any] = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
        counts = results.get("test_cases", {})
        return Outcome(
            cases=counts.get("generated", 0),
            failures=counts.get("unique_failures", 0),
            exit_code=process.returncode,
            seconds=time.monotonic() - began,
            tracebacks=server.log_text().count("Traceback"),
            output=process.stdout,
        )


def assert_test_share_is_clean(backend: str, caller: Caller, postgres: PostgresServer | None = None) -> None:
    """Do one of the three runs of `make test`. It fails if a check fails, or if it made fewer requests than planned."""
    outcome = fuzz(backend, caller, share_of(caller), postgres)
    # A request of a thousand zeros must not hide the others.
    shown = "\n".join(line[:400] for line in outcome.output.splitlines())
    assert outcome.is_clean, shown[-16_000:]
    assert outcome.cases >= MIN_TEST_CASES_PER_RUN


def _command(url: str, share: Share) -> list[str]:
    return [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", CONFIG),
        *("run", f"{url}/openapi.json", "--phases", share.phases, "--checks", "all"),
        *("--max-examples", str(share.examples), "--seed", str(share.seed)),
        *("--request-timeout", str(RESPONSE_SECONDS), "--warnings", "off"),
        *("--report", "json"),
    ]


@contextmanager
def _folder() -> Iterator[Path]:
    folder = private_folder("report")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_for(backends: tuple[str, ...]) -> Iterator[PostgresServer | None]:
    """Start a PostgreSQL server if one of the runs needs it."""
    with PostgresServer.from_environment() if "postgresql" in backends else nullcontext() as server:
        yield server
