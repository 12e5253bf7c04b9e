"""The wheel, and a generated project with features of five shapes: installed, checked, tested and started."""

from __future__ import annotations

import re
import signal
import zipfile
from pathlib import Path

import httpx
import psutil
import pytest

from gatepost.testing.services import LOOPBACK, free_port
from gatepost.testing.services.process import ServerProcess, bare_environment
from tests.conftest import API, ROOT, NewDatabase
from tests.scaffold.conftest import PLUGINS, SHAPES, Project

START_SECONDS = 120
ACCOUNT = {"email": "alice@example.com", "name": "Alice", "password": "seven tall lamps"}


def test_the_wheel_has_the_application_the_tools_and_the_migrations_alone(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"app", "gatepost"}
    assert not [name for name in names if name.startswith(("app/tests", "gatepost/tests")) or name.endswith(".pyc")]
    revisions = {path.name for path in (ROOT / "migrations" / "versions").glob("*.py")}
    assert {Path(name).name for name in names if name.startswith("app/_migrations/versions/")} == revisions
    assert {"app/_migrations/env.py", "app/_migrations/script.py.mako", "app/py.typed", "gatepost/py.typed"} <= {*names}
    templates = [path.relative_to(ROOT).as_posix() for path in ROOT.glob("gatepost/scaffold/templates/**/*.jinja")]
    assert len(templates) > 20
    assert {*templates} <= {*names}
    static = [path.relative_to(ROOT).as_posix() for path in (ROOT / "app").rglob("*") if path.is_file()]
    assert {path for path in static if "__pycache__" not in path} <= {*names}


@pytest.mark.slow
def test_make_test_passes_with_features_of_five_shapes(shop: Project) -> None:
    """Lint, format, types, the features' own tests and the conformance tests, on both databases."""
    output = shop.run("make", "test", f"VENV={shop.scripts.parent}", f"ARGS=-q {PLUGINS}")
    assert re.search(r"^\d+ passed", output, re.MULTILINE), output
    assert "skipped" not in output


def test_the_migrations_create_what_the_models_say(
    shop: Project, features: str, new_database: NewDatabase, backend: str
) -> None:
    environment = {"FEATURES": features, "DATABASE_URL": new_database(), "APP_ENV": "development"}
    flask = [shop.python, "-m", "flask", "--app", "run"]
    script = "; ".join(
        f"app.test_cli_runner().invoke(args=['db', 'check', '--feature', '{name}'], catch_exceptions=False)"
        for name in ("notes", *SHAPES)
    )
    shop.run(*flask, "db", "upgrade", env=environment)
    checked = shop.run(
        shop.python, "-c", f"from run import app; print([{script.replace('; ', ', ')}])", env=environment
    )
    assert checked.count("<Result okay>") == len(SHAPES) + 1, checked
    listed = shop.run(*flask, "features", "list", env=environment).splitlines()
    assert len([line for line in listed if line.endswith(" ok")]) == 5 + len(SHAPES) + 1, listed
    for name in ("notes", *SHAPES):
        shop.run(*flask, "features", "drop", name, "--yes", env=environment)


def test_make_run_serves_from_the_folder_of_the_project(shop: Project) -> None:
    port = free_port()
    server = ServerProcess("the project", shop.folder / "run.log", signal.SIGTERM)

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://{LOOPBACK}:{port}/health/ready").status_code == 200
        except httpx.HTTPError:
            return False

    environment = {**bare_environment(), "BIND": f"{LOOPBACK}:{port}"}
    command = ["make", "run", f"VENV={shop.scripts.parent}"]
    server.start(command, is_ready, timeout_seconds=START_SECONDS, cwd=shop.folder, env=environment)
    try:
        with httpx.Client(base_url=f"http://{LOOPBACK}:{port}") as client:
            token = client.post(f"{API}/auth/register", json=ACCOUNT).json()["access_token"]
            note = {"title": "Milk", "labels": [{"name": "shop"}]}
            headers = {"Authorization": f"Bearer {token}"}
            created = client.post(f"{API}/notes", json=note, headers=headers)
            assert (created.status_code, created.json()["labels"]) == (201, note["labels"]), server.log_text()
            assert client.get(created.headers["Location"], headers=headers).json() == created.json()
            assert client.get(f"{API}/tags").status_code == 404
    finally:
        for child in psutil.Process(server.pid).children():
            child.terminate()
        assert server.wait(timeout_seconds=START_SECONDS) == 0
    assert (shop.folder / "var" / "gatepost.db").is_file()
    assert "JWT_SECRET_KEY=" in (shop.folder / ".env").read_text()
    assert (shop.folder / ".env").stat().st_mode & 0o077 == 0


def test_commands_find_the_project_from_a_folder_inside_of_it(shop: Project, tmp_path: Path) -> None:
    look = [shop.python, "-c", "from app.settings import ROOT; print(ROOT)"]
    assert shop.run(*look, cwd=shop.folder / "features" / "notes").strip() == str(shop.folder)
    assert shop.run(*look, cwd=tmp_path).strip() == str(tmp_path)


def test_the_stack_is_complete(shop: Project) -> None:
    for name in ("nginx.conf", "ops/nginx/start.sh"):
        assert (shop.folder / name).read_bytes() == (ROOT / name).read_bytes()
    compose = (shop.folder / "docker-compose.yml").read_text()
    shop.run("make", ".env")
    known = re.findall(r"^(\w+)=", (shop.folder / ".env").read_text(), re.MULTILINE)
    assert {*re.findall(r"\$\{(\w+):\?", compose)} <= {*known}
    assert "FEATURES: features.notes\n" in compose
    sources = re.findall(r"^COPY (?!--)(.+) \S+$", (shop.folder / "Dockerfile").read_text(), re.MULTILINE)
    excepted = (shop.folder / ".dockerignore").read_text().splitlines()
    for source in " ".join(sources).split():
        assert f"!{source}" in excepted
    shop.run("make", "wheels", "PYTHON=" + shop.python, "GATEPOST=")
    assert {source for source in " ".join(sources).split() if not (shop.folder / source).exists()} == set()
    assert "make test" in (shop.folder / ".github" / "workflows" / "ci.yml").read_text()


def test_the_command_works_as_a_module_too(shop: Project, tmp_path: Path) -> None:
    shop.run(shop.python, "-m", "gatepost.scaffold", "--project", "other", cwd=tmp_path)
    assert (tmp_path / "other" / "requirements.txt").read_text().startswith("gatepost==")
    shop.run(shop.python, "-m", "gatepost.scaffold", "lists", "name", cwd=tmp_path / "other")
    assert (tmp_path / "other" / "features" / "lists" / "migrations" / "0001_lists.py").is_file()
