"""The runs of `make test` on PostgreSQL. One file per database, so that pytest-xdist runs both at the same time."""

from __future__ import annotations

import pytest

from gatepost.testing.services.postgres import PostgresServer
from tests.fuzzing.plan import TEST_CALLERS, Caller
from tests.fuzzing.runs import assert_test_share_is_clean


@pytest.mark.slow
@pytest.mark.parametrize("caller", TEST_CALLERS["postgresql"])
def test_schemathesis_finds_no_fault(caller: Caller, postgres: PostgresServer) -> None:
    assert_test_share_is_clean("postgresql", caller, postgres)
