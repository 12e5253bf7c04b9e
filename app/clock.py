"""The clock of the application, which tests can replace."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime


def _system_time() -> datetime:
    return datetime.now(UTC)


source: Callable[[], datetime] = _system_time


def utc_now() -> datetime:
    """Return the current time as an aware datetime in UTC, with microseconds."""
    return source()
