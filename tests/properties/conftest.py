"""Time that stands still for everyone."""

from __future__ import annotations

from datetime import datetime, tzinfo
from typing import Self

import pytest

from tests.conftest import Clock


class _LikeDatetime(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, datetime)


@pytest.fixture
def everybodys_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the application, which the JWT libraries go by here too."""

    class Stopped(datetime, metaclass=_LikeDatetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(clock.now.timestamp(), tz)

    monkeypatch.setattr("jwt.api_jwt.datetime", Stopped)
    monkeypatch.setattr("app.auth.tokens.seconds_now", lambda: clock.now.timestamp())
    monkeypatch.setattr("flask_jwt_extended.tokens.datetime", Stopped)
    return clock
