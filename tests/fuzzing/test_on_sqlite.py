"""Continuous integration's share of `make fuzz` on SQLite. The other half is a file too: both run at once."""

from __future__ import annotations

import pytest

from tests.fuzzing.plan import CALLERS, Caller
from tests.fuzzing.runs import assert_ci_share_is_clean


@pytest.mark.slow
@pytest.mark.parametrize("caller", CALLERS)
def test_no_request_finds_a_fault(caller: Caller) -> None:
    assert_ci_share_is_clean("sqlite", caller)
