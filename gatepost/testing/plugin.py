"""The pytest plug-in: fixtures for the tests of a feature, and the conformance tests of `pytest --feature NAME`."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import pytest

CHECKS = Path(__file__).with_name("checks")
# Their assertions explain themselves as those of test modules do.
pytest.register_assert_rewrite(
    *(f"gatepost.testing.{name}" for name in ("cast", "fixtures", "races", "openapi_document", "scenes", "checks"))
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --feature."""
    parser.getgroup("gatepost").addoption(
        "--feature",
        action="append",
        default=[],
        metavar="NAME",
        help="Run the conformance tests of this feature: one that FEATURES switches on, such as trips, a built-in one "
        "such as posts, or a package such as shop.orders, which is switched on for the run. May be repeated.",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Load the fixtures, switch the features on, and add their conformance tests to what is collected."""
    _restore_interrupts()
    # Imported here, because the import of the application is slow and needs the `pythonpath` of the project.
    config.pluginmanager.import_plugin("gatepost.testing.fixtures")
    from app.settings.environment import InvalidValue
    from gatepost.testing.features import require_examples, switch_on

    try:
        switch_on(config.getoption("feature"))
        require_examples(config.getoption("feature"))
    except InvalidValue as error:
        raise pytest.UsageError(str(error)) from error
    if config.getoption("feature"):
        _add_checks(config)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from examining the modules and the thousands of collected tests again and again."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Remove the conformance tests that concern no operation of the features, which pytest would report as skipped."""
    items[:] = [item for item in items if "NOTSET" not in item.name or CHECKS not in item.path.parents]


def _restore_interrupts() -> None:
    """Let the servers and commands that tests start end by Ctrl-C, also when a shell runs the tests in background.

    Such a shell ignores SIGINT for all that it starts, and they would inherit that.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _add_checks(config: pytest.Config) -> None:
    """Collect the conformance tests, besides the files that the command line names, or alone if it names none."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []
    named = {os.path.realpath(argument.partition("::")[0]) for argument in config.args}
    if not any(path.startswith(str(CHECKS)) for path in named):
        config.args += [str(path) for path in sorted(CHECKS.glob("test_*.py"))]
