"""The image that the Dockerfile builds."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from tests.compose.deployment import REVISION, VERSION, CommandFailed, Deployment, docker

BASE = "python:3.13-slim"
MAX_MEGABYTES_ABOVE_BASE = 200


@pytest.fixture(scope="module")
def image(deployment: Deployment) -> dict[str, Any]:
    """The output of `docker image inspect`."""
    found: list[dict[str, Any]] = json.loads(docker("image", "inspect", deployment.image))
    return found[0]


def run(deployment: Deployment, *command: str, options: tuple[str, ...] = ()) -> str:
    """Run a command in a container of the image with the restrictions of docker-compose.yml."""
    confined = ("--rm", "--network=none", "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--entrypoint", command[0])
    return docker("run", *confined, *options, deployment.image, *command[1:])


def test_it_is_small(image: dict[str, Any]) -> None:
    base = json.loads(docker("image", "inspect", BASE))[0]
    assert (image["Size"] - base["Size"]) / 1e6 < MAX_MEGABYTES_ABOVE_BASE


def test_it_has_labels_a_user_and_a_health_check(image: dict[str, Any]) -> None:
    config = image["Config"]
    assert config["User"] == "10001:10001"
    assert config["Labels"]["org.opencontainers.image.title"] == "Gatepost"
    assert config["Labels"]["org.opencontainers.image.licenses"] == "MIT"
    if "GATEPOST_IMAGE" not in os.environ:
        assert config["Labels"]["org.opencontainers.image.version"] == VERSION
        assert config["Labels"]["org.opencontainers.image.revision"] == REVISION
    assert config["Healthcheck"]["Test"][:2] == ["CMD", "python"]


def test_it_contains_neither_secrets_nor_build_tools(deployment: Deployment) -> None:
    look = """
import pathlib, shutil
names = "cc gcc g++ clang make ld cargo curl wget git".split()
print([name for name in names if shutil.which(name)])
folders = "/root/.cache /var/lib/apt/lists /var/cache/apt/archives /var/tmp".split()
caches = [pathlib.Path(folder) for folder in folders]
print([str(f) for cache in caches if cache.exists() for f in cache.rglob("*") if f.is_file() and f.name != "lock"])
print(sorted(p.name for p in pathlib.Path("/srv/gatepost").iterdir()))
print([str(p) for p in pathlib.Path("/").glob("opt/venv/bin/pip*")])
"""
    found = run(deployment, "python", "-c", look, options=("--user=0", "--cap-add=DAC_READ_SEARCH"))
    tools, caches, files, pip = found.splitlines()
    assert tools == caches == pip == "[]"
    assert files == "['__pycache__', 'app', 'gatepost', 'gunicorn.conf.py', 'migrations', 'run.py']"


def test_the_application_cannot_change_its_own_files(deployment: Deployment) -> None:
    look = """
import os, pathlib
paths = [str(path) for top in ("/srv", "/opt") for path in pathlib.Path(top).rglob("*")]
print(os.getuid(), os.getgid(), [path for path in paths if os.access(path, os.W_OK)])
"""
    # Without a read-only file system: only owners and modes protect the files.
    options = ("--rm", "--network=none", "--entrypoint=python")
    assert docker("run", *options, deployment.image, "-c", look).strip() == "10001 10001 []"


def test_the_code_is_compiled(deployment: Deployment) -> None:
    look = """
import pathlib
sources = [p for p in pathlib.Path("/srv/gatepost").rglob("*.py")]
print(len(sources) > 20, [str(p) for p in sources if not list(p.parent.glob(f"__pycache__/{p.stem}.*.pyc"))])
"""
    assert run(deployment, "python", "-c", look).strip() == "True []"


@pytest.mark.parametrize("server", ["gunicorn", "granian"])
def test_without_settings_the_error_names_the_missing_ones(deployment: Deployment, server: str) -> None:
    with pytest.raises(CommandFailed) as failure:
        run(deployment, "python", "run.py", options=("--env", f"SERVER={server}"))
    for name in ("DATABASE_URL", "JWT_SECRET_KEY", "CORS_ORIGINS"):
        assert f"  {name}: " in str(failure.value)
