"""The clock of the application, which tests can replace."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

source: Callable[[], datetime] = partial(datetime.now, UTC)


def utc_now() -> datetime:
    """Return the current time as an aware datetime in UTC, with microseconds."""
    return source()
