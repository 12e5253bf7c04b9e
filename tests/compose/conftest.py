"""The fixture of the compose stack. `make test-compose` runs these tests; `make test` does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.compose.deployment import Deployment
from tools.production_env import find_docker_problem


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore this folder unless the command line names it."""
    named = any("compose" in Path(argument.split("::")[0]).parts for argument in config.args)
    return None if named else True


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """The running stack. A test that stops a part of it starts it again."""
    if problem := find_docker_problem():
        pytest.fail(problem, pytrace=False)
    deployment = Deployment(tmp_path_factory.mktemp("compose"))
    deployment.build()
    try:
        deployment.seconds_to_start = deployment.up()
        yield deployment
    finally:
        deployment.remove()
