"""How pytest-xdist distributes the tests: in which order, and which of them run in the same process."""

from __future__ import annotations

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]

# Folders whose files share servers or builds, which each process that runs one of the files would make for itself.
TOGETHER = ("tests/browser", "tests/concurrency", "tests/hostile", "tests/servers", "tests/stack")
# What takes longest, first: otherwise one process would have work left when the others are done.
FIRST = (
    *(
        "tests/stack/",
        "tests/browser/",
        "tests/scaffold/test_project.py",
        "tests/faults/test_drills.py",
        "tests/fuzzing/",
        "tests/servers/",
    ),
    *("tests/clients/", "tests/concurrency/", "tests/faults/", "tests/tools/", "tests/database/", "tests/users/"),
    *("tests/cli/", "tests/properties/"),
)


def place_of(nodeid: str) -> int:
    """Return the place of a test in the order: lower numbers come first."""
    return next((number for number, prefix in enumerate(FIRST) if nodeid.startswith(prefix)), len(FIRST))


class Scheduling(LoadFileScheduling):  # type: ignore[misc]  # The package has no types.
    """Runs all tests of a file in one process, and all files of some folders."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return next((folder for folder in TOGETHER if file.startswith(f"{folder}/")), file)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the tests."""
    items.sort(key=lambda item: place_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scheduling:
    """Return the scheduler of a run with several processes."""
    return Scheduling(config, log)
