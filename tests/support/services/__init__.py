"""The real servers that tests run against: PostgreSQL, Redis and Gatepost itself under gunicorn."""

from __future__ import annotations

import os
import socket
from typing import NoReturn

import pytest

LOOPBACK = "127.0.0.1"


class ServiceMissing(Exception):
    """A server that tests need is not on this machine; the text says what to install."""


class ServiceFailed(Exception):
    """A server was found but did not start or stop; the text holds the end of its log."""


def skip_or_fail(missing: ServiceMissing) -> NoReturn:
    """Skip the calling test on a contributor's machine; in CI a missing server is a failure."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(str(missing), pytrace=False)
    pytest.skip(str(missing))


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
