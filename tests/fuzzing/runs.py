"""One run of Schemathesis: a server of its own with an empty database, one kind of caller, and what came of it."""

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

from tests.conftest import BACKENDS, PATIENT, migrate
from tests.fuzzing.plan import CALLER, CALLERS, Caller
from tests.support.services.gatepost import ROOT, GatepostServer
from tests.support.services.postgres import PostgresServer
from tests.support.services.process import private_folder

CONFIG = "tests/fuzzing/schemathesis.toml"
PHASES = "examples,coverage,fuzzing,stateful"
# An answer may be slow on a busy machine, but it comes.
ANSWER_SECONDS = 60
# Coverage is measured by other tests: here it would follow every request made, and double the time.
UNMEASURED = {"COVERAGE_PROCESS_START": "", "COVERAGE_PROCESS_CONFIG": ""}


@dataclass(frozen=True)
class Share:
    """How much a run does: examples of each operation, and of sequences of them, from one seed."""

    examples: int
    seed: int
    phases: str = PHASES


# The six runs of continuous integration, three callers on two databases, make 20,000 requests.
CI_SHARE = Share(examples=58, seed=20260131)
CI_CASES = 20_000
RUNS = len(CALLERS) * len(BACKENDS)


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    cases: int
    failures: int
    exit_code: int
    seconds: float
    surprises: int
    said: str

    @property
    def is_clean(self) -> bool:
        """Whether no check failed, all could be tried, and the server met no bug."""
        return self.exit_code == 0 and self.failures == 0 and self.surprises == 0


@contextmanager
def server_on(
    backend: str, postgres: PostgresServer | None, application: str
) -> Iterator[tuple[GatepostServer, dict[str, str]]]:
    """A server with an empty database, and the environment it runs in."""
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
        **UNMEASURED,
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
    """Run Schemathesis against a server on `backend` as `caller`; on paths that match `only`, if that is given."""
    began = time.monotonic()
    with server_on(backend, postgres, application) as (server, environment), _folder() as folder:
        report = folder / "report.json"
        answer = subprocess.run(
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
        told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
        counts = told.get("test_cases", {})
        return Outcome(
            cases=counts.get("generated", 0),
            failures=counts.get("unique_failures", 0),
            exit_code=answer.returncode,
            seconds=time.monotonic() - began,
            surprises=server.log_text().count("Traceback"),
            said=answer.stdout,
        )


def assert_ci_share_is_clean(backend: str, caller: Caller, postgres: PostgresServer | None = None) -> None:
    """Make one of the six runs of continuous integration; fail if a check does, or if it tried less than its part."""
    outcome = fuzz(backend, caller, CI_SHARE, postgres)
    assert outcome.is_clean, outcome.said[-8000:]
    assert outcome.cases >= CI_CASES / RUNS


def _command(url: str, share: Share) -> list[str]:
    return [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", CONFIG),
        *("run", f"{url}/openapi.json", "--phases", share.phases, "--checks", "all"),
        *("--max-examples", str(share.examples), "--seed", str(share.seed)),
        *("--request-timeout", str(ANSWER_SECONDS), "--warnings", "off"),
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
    """A PostgreSQL if one of the runs needs it."""
    with PostgresServer.from_environment() if "postgresql" in backends else nullcontext() as server:
        yield server
