"""A firewall before one local port: iptables if this process may use it, otherwise the relay."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Protocol

from tests.faults.relay import Relay
from tools.services import EXTRA_PATHS

WAIT_SECONDS = "5"


class Firewall(Protocol):
    """Rejects or drops packets to a port until `open` is called."""

    name: str

    def refuse(self) -> None:
        """Answer every packet with a reset."""

    def swallow(self) -> None:
        """Drop every packet, including those of open connections."""

    def open(self) -> None:
        """Accept all packets again. Has no effect if they are accepted."""


class RelayFirewall:
    """A firewall that is simulated by the relay: it closes or delays connections."""

    name = "a relay"

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def refuse(self) -> None:
        """Close all connections and refuse new ones."""
        self._relay.refuse()

    def swallow(self) -> None:
        """Delay all data."""
        self._relay.swallow()

    def open(self) -> None:
        """Forward data and accept connections again."""
        self._relay.pass_on()
        self._relay.accept()


class KernelFirewall:
    """iptables rules for packets on the loopback interface, to and from the relay's port."""

    name = "iptables"

    def __init__(self, port: int) -> None:
        self._program = _find()
        on_loopback = ("INPUT", "-i", "lo", "-p", "tcp")
        self._to, self._from = ((*on_loopback, f"--{side}port", str(port)) for side in "ds")
        self._rules: list[tuple[str, ...]] = []

    def refuse(self) -> None:
        """Answer packets with a TCP reset, which ends open connections too."""
        self._add(*self._to, "-j", "REJECT", "--reject-with", "tcp-reset")

    def swallow(self) -> None:
        """Drop packets in both directions. TCP retransmits them."""
        self._add(*self._to, "-j", "DROP")
        self._add(*self._from, "-j", "DROP")

    def open(self) -> None:
        """Remove the rules of this object."""
        while self._rules:
            self._run("--delete", *self._rules[-1])
            self._rules.pop()

    @property
    def is_permitted(self) -> bool:
        """Whether this process may add a rule, tested with one that has no effect."""
        if not self._program:
            return False
        try:
            self._add(*self._to, "-j", "ACCEPT")
            self.open()
        except (OSError, subprocess.SubprocessError):
            return False
        return True

    def _add(self, *rule: str) -> None:
        self._run("--insert", *rule)
        self._rules.append(rule)

    def _run(self, *command: str) -> None:
        # Wait for the lock of the tables, which another process may hold.
        subprocess.run([self._program, "--wait", WAIT_SECONDS, *command], check=True, capture_output=True)


def _find() -> str:
    return shutil.which("iptables", path=os.pathsep.join([os.environ.get("PATH", ""), *EXTRA_PATHS])) or ""


def firewall_before(relay: Relay) -> Firewall:
    """Return an iptables firewall for the port of the relay, or the relay itself if that is not permitted."""
    kernel = KernelFirewall(relay.port)
    return kernel if kernel.is_permitted else RelayFirewall(relay)
