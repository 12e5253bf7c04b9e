"""The distribution of tests to processes."""

from __future__ import annotations

from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from tests.conftest import ROOT
from tests.support.distribution import FIRST, TOGETHER, Scheduling, place_of


def test_files_of_some_folders_are_in_one_unit_of_work() -> None:
    """`Scheduling` overrides a private method of pytest-xdist, which a new version may rename or stop calling.

    Then each process starts the servers of these folders for itself, and the tests take longer.
    """
    config = pytest.Config.fromdictargs({"numprocesses": 0, "tx": ["2*popen"]}, [])
    unit_of = Scheduling(config)._split_scope
    assert unit_of("tests/stack/test_proxy.py::TestForwarding::test_it[a::b]") == "tests/stack"
    assert unit_of("tests/users/test_get_user.py::test_it[a]") == "tests/users/test_get_user.py"
    assert unit_of("tests/test_readme.py::test_it") == "tests/test_readme.py"
    assert "_split_scope" in LoadScopeScheduling.schedule.__code__.co_names


def test_the_named_files_and_folders_exist() -> None:
    assert [path for path in (*FIRST, *TOGETHER) if not Path(ROOT, path).exists()] == []
    assert place_of("tests/stack/test_proxy.py::test_it") < place_of("tests/users/test_it.py::test_it")
    assert place_of("tests/test_readme.py::test_it") == len(FIRST)
