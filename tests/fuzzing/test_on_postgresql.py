"""Continuous integration's share of `make fuzz` on PostgreSQL. The other half is a file too: both run at once."""

from __future__ import annotations

import pytest

from tests.fuzzing.plan import CALLERS, Caller
from tests.fuzzing.runs import assert_ci_share_is_clean
from tests.support.services.postgres import PostgresServer


@pytest.mark.slow
@pytest.mark.parametrize("caller", CALLERS)
def test_no_request_finds_a_fault(caller: Caller, postgres: PostgresServer) -> None:
    assert_ci_share_is_clean("postgresql", caller, postgres)
