"""Runs the linter of Redocly on the document. It checks more than whether the document is valid."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.openapi.commands import FILE
from gatepost.testing.services import ServiceMissing, skip_or_fail
from tests.conftest import ROOT
from tools import javascript

FOLDER = ROOT / "tests" / "openapi-lint"
LINT_SECONDS = 120
# By default the linter looks for new versions and sends telemetry.
QUIET = {"REDOCLY_TELEMETRY": "off", "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true"}


@pytest.fixture(scope="module")
def linter() -> list[str]:
    """The command of the linter, after installing the packages of its lock file."""
    try:
        javascript.install(FOLDER)
    except javascript.NodeMissing as error:
        skip_or_fail(ServiceMissing(str(error)))
    node = shutil.which("node")
    assert node is not None
    return [node, str(FOLDER / "node_modules" / "@redocly" / "cli" / "bin" / "cli.js")]


def lint(linter: list[str], document: Path) -> list[dict[str, Any]]:
    """Return the problems that the linter finds in a document."""
    config = ["--config", str(FOLDER / "redocly.yaml"), "--format", "json", "--max-problems", "1000"]
    answer = subprocess.run(
        [*linter, "lint", str(document), *config],
        cwd=FOLDER,
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        timeout=LINT_SECONDS,
        check=False,
    )
    report = json.loads(answer.stdout[answer.stdout.index("{") :])
    problems: list[dict[str, Any]] = report["problems"]
    assert (answer.returncode == 0) == (not [p for p in problems if p["severity"] == "error"]), answer.stderr
    return problems


def test_the_linter_finds_no_problem(linter: list[str]) -> None:
    assert [(problem["ruleId"], problem["message"]) for problem in lint(linter, FILE)] == []


def test_the_linter_finds_problems_in_a_faulty_document(linter: list[str], tmp_path: Path) -> None:
    document = json.loads(FILE.read_text(encoding="utf-8"))
    operation = document["paths"]["/api/v1/posts"]["get"]
    del operation["summary"]
    operation["parameters"][0]["schema"]["example"] = "many"
    operation["responses"] = {"200": operation["responses"]["200"]}
    path = tmp_path / "openapi.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    assert {"operation-summary", "operation-4xx-response"} <= {problem["ruleId"] for problem in lint(linter, path)}
