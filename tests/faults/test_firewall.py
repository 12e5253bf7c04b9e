"""The firewalls of the drills: they refuse, swallow and let go, and leave nothing behind."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gatepost.testing.services import LOOPBACK
from tests.faults.firewall import Firewall, RelayFirewall, firewall_before
from tests.faults.relay import Relay

MOMENT_SECONDS, PATIENCE_SECONDS = 0.3, 20


@pytest.fixture
def relay() -> Iterator[Relay]:
    """A relay before a server that says everything back."""
    with socket.create_server((LOOPBACK, 0)) as listener, Relay(listener.getsockname()[1]) as relay:

        def echo(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                while data := connection.recv(100):
                    connection.sendall(data)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=echo, args=[listener.accept()[0]], daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield relay
        relay.cut()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture(params=["the best there is", "a relay"])
def firewall(relay: Relay, request: pytest.FixtureRequest) -> Iterator[Firewall]:
    """The one that the drills would use on this machine, and the one that they can always use."""
    firewall = RelayFirewall(relay) if request.param == "a relay" else firewall_before(relay)
    yield firewall
    firewall.open()


def connect(relay: Relay) -> socket.socket:
    return socket.create_connection((LOOPBACK, relay.port), timeout=PATIENCE_SECONDS)


def echoes(client: socket.socket) -> bool:
    client.sendall(b"hello")
    return client.recv(100) == b"hello"


def test_it_refuses_and_ends_what_is_open(relay: Relay, firewall: Firewall) -> None:
    with connect(relay) as client:
        assert echoes(client)
        firewall.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect(relay)
        # A reset meets the first packet; the end may have come before it.
        with suppress(ConnectionError):
            assert not echoes(client)
    firewall.open()
    with connect(relay) as client:
        assert echoes(client)


def test_it_swallows_and_gives_back(relay: Relay, firewall: Firewall) -> None:
    with connect(relay) as client:
        assert echoes(client)
        firewall.swallow()
        client.sendall(b"hello")
        client.settimeout(MOMENT_SECONDS)
        with pytest.raises(TimeoutError):
            client.recv(100)
        firewall.open()
        client.settimeout(PATIENCE_SECONDS)
        # TCP sends again what was lost.
        assert client.recv(100) == b"hello"


def test_it_may_be_opened_when_it_is_open(relay: Relay, firewall: Firewall) -> None:
    firewall.open()
    with connect(relay) as client:
        assert echoes(client)
