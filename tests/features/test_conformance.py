"""The conformance tests find each fault of a faulty feature, and nothing else in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from app.settings.environment import InvalidValue
from gatepost.testing.features import require_examples, switch_on
from tests.conftest import BACKENDS, ROOT

RUN_SECONDS = 600
# By test and operation, a part of the message.
FAULTS = {
    "test_a_write_is_protected[faulty-delete_thing]": "delete_thing writes without credentials",
    "test_every_route_declares_its_access[faulty]": "'/api/v1/raw-things'",
    "test_each_operation_has_a_call_for_each_status[faulty-create_thing]": "no call that answers [409]",
    "test_each_declared_problem_occurs[faulty-create_thing]": "create_thing declares ['thing_locked']",
    "test_a_change_of_a_tagged_resource_declares_412[faulty-delete_thing]": "does not declare PreconditionFailed",
    "test_a_change_with_another_tag_changes_nothing[faulty-delete_thing]": "delete_thing",
    "test_a_change_with_another_tag_changes_nothing[faulty-replace_thing]": 'replace_thing ignores If-Match: "stale"',
    "test_a_creation_takes_a_key[faulty-create_thing]": "create_thing creates a row and takes no Idempotency-Key",
    "test_a_value_that_the_schema_allows_is_no_500[faulty-create_thing]": r"create_thing with name = '\x00'",
    "test_a_value_that_the_schema_allows_is_no_500[faulty-replace_thing]": "replace_thing with name = ",
    "test_a_value_that_the_schema_excludes_is_422[faulty-create_thing]": r"create_thing with name = '\ud800'",
    "test_a_value_that_the_schema_excludes_is_422[faulty-replace_thing]": r"replace_thing with name = '\ud800'",
    "test_each_order_and_filter_reads_an_index[faulty-list_things]": "sort=name",
    "test_the_number_of_statements_does_not_grow_with_the_rows[faulty-list_things]": "statements for one row",
    "test_the_export_has_every_column[faulty]": "no row of things with all columns; it lacks ['remark']",
    "test_nothing_is_left_of_a_deleted_user[faulty]": "visits.user_id still has the id of a deleted user",
    "test_each_downgrade_is_written[faulty]": "downgrade() of revision 0001 does nothing",
    "test_down_and_up_again_with_rows[faulty]": "after the downgrade to base there are still the tables",
    "test_every_single_step_is_reversible[faulty]": "",
}
# These read the declarations alone, so that they run once.
ONCE = re.compile(
    "test_a_write_is_protected|test_every_route_declares|test_each_operation_has|test_a_change_of_a_tagged"
    "|test_a_creation_takes|test_each_downgrade"
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The message of each test that fails, by its name."""
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "--tb=no", "-rfE"]
    finished = subprocess.run(
        [*command, "--feature", "tests.features.faulty", "-o", f"cache_dir={tmp_path_factory.mktemp('cache')}"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "5000"},
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
        check=False,
    )
    lines = re.findall(r"^(FAILED|ERROR) \S+::(\S+)(?: - (.*))?$", finished.stdout, re.MULTILINE)
    assert finished.returncode == 1, finished.stdout + finished.stderr
    assert not [name for kind, name, _ in lines if kind == "ERROR"], finished.stdout
    return {name: message for _, name, message in lines}


@pytest.mark.slow
def test_each_fault_is_found_and_nothing_else(found: dict[str, str]) -> None:
    expected = {
        name if ONCE.match(name) else f"{name[:-1]}-{backend}]": part
        for name, part in FAULTS.items()
        for backend in BACKENDS
    }
    assert found.keys() == expected.keys()
    for name, part in expected.items():
        assert part in found[name], f"{name}: {found[name]}"


def test_an_unknown_feature_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"No feature nowhere is on: .*no Python package nowhere"):
        switch_on(["posts", "core", "nowhere"])


def test_a_feature_without_examples_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATURES", "tests.features.notes")
    with pytest.raises(InvalidValue, match="The feature notes has no `examples`"):
        require_examples(["notes"])
