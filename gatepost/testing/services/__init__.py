"""Real servers for tests: PostgreSQL, Redis, nginx, and Gatepost under gunicorn or granian."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

import pytest

LOOPBACK = "127.0.0.1"


class ServiceMissing(Exception):
    """A server program that tests need is not installed. The message says what to install."""


class ServiceFailed(Exception):
    """A server did not start or stop. The message contains the end of its log."""


def skip_or_fail(missing: ServiceMissing) -> NoReturn:
    """Skip the calling test; if CI is set, fail it."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(str(missing), pytrace=False)
    pytest.skip(str(missing))


def free_port() -> int:
    """Return a free TCP port of the loopback interface."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
