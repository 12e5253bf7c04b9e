"""The runs of `make test` on SQLite. One file per database, so that pytest-xdist runs both at the same time."""

from __future__ import annotations

import pytest

from tests.fuzzing.plan import TEST_CALLERS, Caller
from tests.fuzzing.runs import assert_test_share_is_clean


@pytest.mark.slow
@pytest.mark.parametrize("caller", TEST_CALLERS["sqlite"])
def test_schemathesis_finds_no_fault(caller: Caller) -> None:
    assert_test_share_is_clean("sqlite", caller)
