"""The TypeScript client and the example app: the type check and the client's own tests."""

from __future__ import annotations

import json
import re
import sys

import pytest

from tests.conftest import ROOT
from tools import javascript

CHECK_SECONDS = 300
TEST_SECONDS = 600


@pytest.mark.parametrize("folder", [".", "tests/openapi-lint", "tests/clients/generators"])
def test_each_lock_file_has_a_checksum_for_each_package_and_no_address(folder: str) -> None:
    text = (ROOT / folder / javascript.LOCK).read_text(encoding="utf-8")
    assert not re.search(r'"resolved": "\w+:', text)
    packages = json.loads(text)["packages"]
    own = {"", *json.loads((ROOT / folder / "package.json").read_text(encoding="utf-8")).get("workspaces", [])}
    assert own < packages.keys()
    assert [name for name, item in packages.items() if not (name in own or "link" in item or "integrity" in item)] == []


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["clients/typescript", "examples/spa"])
def test_the_type_check_succeeds(npm: str, folder: str) -> None:
    javascript.run([npm, "run", "check", "--workspace", folder], timeout_seconds=CHECK_SECONDS)


@pytest.mark.slow
def test_the_clients_own_tests_pass(npm: str) -> None:
    output = javascript.run(
        [npm, "test", "--workspace", "clients/typescript"],
        timeout_seconds=TEST_SECONDS,
        environment={"GATEPOST_PYTHON": sys.executable},
    )
    assert re.search(r"Tests\s+\d+ passed \(\d+\)", output), output[-4000:]
