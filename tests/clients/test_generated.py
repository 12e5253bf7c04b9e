"""Clients that common generators make of docs/openapi.json: no warning, typed results, and calls of a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from app.openapi.commands import FILE
from gatepost.testing.services import ServiceMissing, skip_or_fail
from gatepost.testing.services.gatepost import NO_COVERAGE, GatepostServer
from tests.conftest import PASSWORD
from tools import javascript

PROGRAMS = Path(__file__).parent / "generators"
LIMIT_SECONDS = 300
# The same commands as in docs/front-end.md.
TYPESCRIPT = {
    "hey_api": ("openapi-ts", "--input", "{document}", "--output", "generated/hey_api", "--no-log-file"),
    "openapi_typescript": ("openapi-typescript", "{document}", "--output", "generated/openapi_typescript.d.ts"),
    "orval": ("orval", "--input", "{document}", "--output", "generated/orval.ts", "--client", "fetch"),
}
UNAUTHORIZED = {"authentication_required", "token_invalid"}
Program = Callable[[dict[str, str]], str]


def run(command: list[str], folder: Path, **environment: str) -> str:
    """Run a command in a folder and return its output. Fails the test if the command fails."""
    # Generators start formatters that they find on the PATH.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    answer = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **NO_COVERAGE, "PATH": path, "NO_COLOR": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert answer.returncode == 0, answer.stdout[-4000:]
    return answer.stdout


def generate(command: list[str], folder: Path) -> None:
    """Run a generator. Fails the test if the generator fails or prints a warning."""
    output = run(command, folder)
    assert not re.search(r"warn|⚠|unsupported|omitted", output, re.IGNORECASE), output


def generate_python(document: Path, folder: Path) -> None:
    """Generate the Python client of a document into the package gatepost_client of a folder."""
    options = ["--path", str(document), "--output-path", "gatepost_client", "--meta", "none", "--fail-on-warning"]
    generate([sys.executable, "-m", "openapi_python_client", "generate", *options], folder)


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three generated TypeScript clients and the programs that use them, compiled."""
    try:
        javascript.install(PROGRAMS)
    except javascript.NodeMissing as error:
        skip_or_fail(ServiceMissing(str(error)))
    folder = tmp_path_factory.mktemp("typescript")
    for file in (*PROGRAMS.glob("*.ts"), PROGRAMS / "tsconfig.json", PROGRAMS / "package.json"):
        shutil.copy(file, folder)
    (folder / "node_modules").symlink_to(PROGRAMS / "node_modules")
    (folder / "generated").mkdir()
    for program, *options in TYPESCRIPT.values():
        generate([f"node_modules/.bin/{program}", *(part.format(document=FILE) for part in options)], folder)
    run(["node_modules/.bin/tsc"], folder)
    return folder


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the generated Python client and the programs that use it, after a strict type check."""
    if find_spec("openapi_python_client") is None:
        skip_or_fail(ServiceMissing("openapi-python-client is missing: run `make venv`."))
    folder = tmp_path_factory.mktemp("python")
    generate_python(FILE, folder)
    programs = [Path(shutil.copy(file, folder)).name for file in PROGRAMS.glob("*.py")]
    # Follows imports silently: only the programs are checked, with the types of the generated package.
    options = ["--strict", "--follow-imports", "silent", "--cache-dir", "mypy"]
    run([sys.executable, "-m", "mypy", *options, *programs], folder)
    return folder


@pytest.fixture
def account(shared_server: GatepostServer) -> dict[str, str]:
    """A new account on a real server, as environment variables for the programs."""
    email = f"{uuid.uuid4().hex}@example.com"
    body = json.dumps({"email": email, "name": "Alice", "password": PASSWORD}).encode()
    url = f"{shared_server.url}/api/v1/auth/register"
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as response:
        assert response.status == 201
    return {"GATEPOST_URL": shared_server.url, "GATEPOST_EMAIL": email, "GATEPOST_PASSWORD": PASSWORD}


def check(output: str, account: dict[str, str]) -> None:
    """Check what a program has printed: it read its account and all its posts, and got three typed problems."""
    report: dict[str, Any] = json.loads(output)
    assert report["email"] == account["GATEPOST_EMAIL"]
    assert sorted(report["titles"]) == [f"Post {number}" for number in range(1, 6)]
    assert report["pages"] == 3
    assert report["invalidCredentials"] == "invalid_credentials"
    assert report["unauthorized"] in UNAUTHORIZED
    assert report["invalidFields"] == ["limit"]


@pytest.mark.slow
@pytest.mark.parametrize("program", TYPESCRIPT)
def test_generated_typescript_clients_work(typescript: Path, account: dict[str, str], program: str) -> None:
    check(run(["node", f"built/{program}.js"], typescript, **account), account)


@pytest.mark.slow
def test_a_generated_python_client_works(python: Path, account: dict[str, str]) -> None:
    check(run([sys.executable, "python_client.py"], python, **account), account)


@pytest.mark.slow
def test_a_generated_python_client_reads_all_that_is_public(python: Path, shared_server: GatepostServer) -> None:
    """The pages for people are harmless: their operations return text, or the object of the document."""
    output = run([sys.executable, "public_operations.py", str(FILE), shared_server.url], python)
    results = json.loads(output)
    assert {"get_health", "get_openapi", "get_problem", "list_posts"} <= results.keys()
    assert {name: result for name, result in results.items() if result in ("NoneType", "dict")} == {}


@pytest.mark.slow
def test_a_schema_that_the_generator_drops_is_noticed(python: Path, tmp_path: Path) -> None:
    document = json.loads(FILE.read_text(encoding="utf-8"))
    narrowed = {"allOf": [{"$ref": "#/components/schemas/Problem"}, {"properties": {"status": {"const": 404}}}]}
    document["components"]["schemas"]["NotFoundProblem"] = narrowed
    (tmp_path / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    with pytest.raises(AssertionError, match=r"WARNING parsing|Unable to"):
        generate_python(tmp_path / "openapi.json", tmp_path)
