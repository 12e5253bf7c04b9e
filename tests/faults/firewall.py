"""A firewall before one port of this machine's own: the kernel's where this process may, else a relay's doing."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Protocol

from tests.faults.relay import Relay
from tools.services import EXTRA_PATHS

WAIT_SECONDS = "5"


class Firewall(Protocol):
    """Refuses or swallows what goes to a port, until it is opened again."""

    name: str

    def refuse(self) -> None:
        """Answer every packet with a reset."""

    def swallow(self) -> None:
        """Drop every packet, of connections that are open too."""

    def open(self) -> None:
        """Let everything through again; harmless if it does already."""


class RelayFirewall:
    """The relay does it: connections end or stall as they would, but by its hand."""

    name = "a relay"

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def refuse(self) -> None:
        """Cut what is open and take nothing more."""
        self._relay.refuse()

    def swallow(self) -> None:
        """Hold back every byte."""
        self._relay.swallow()

    def open(self) -> None:
        """Go on."""
        self._relay.pass_on()
        self._relay.accept()


class KernelFirewall:
    """Rules of iptables for packets on the loopback interface, to and from the relay's port: the drill's own."""

    name = "iptables"

    def __init__(self, port: int) -> None:
        self._program = _find()
        on_loopback = ("INPUT", "-i", "lo", "-p", "tcp")
        self._to, self._from = ((*on_loopback, f"--{side}port", str(port)) for side in "ds")
        self._rules: list[tuple[str, ...]] = []

    def refuse(self) -> None:
        """Reset what is open with its next packet, and what comes."""
        self._add(*self._to, "-j", "REJECT", "--reject-with", "tcp-reset")

    def swallow(self) -> None:
        """Drop packets both ways: TCP sends them again, once and again."""
        self._add(*self._to, "-j", "DROP")
        self._add(*self._from, "-j", "DROP")

    def open(self) -> None:
        """Remove our rules."""
        while self._rules:
            self._run("--delete", *self._rules[-1])
            self._rules.pop()

    @property
    def is_permitted(self) -> bool:
        """Whether a rule can be made, tried with one that changes nothing."""
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
        # Others may hold the lock of the tables for a moment.
        subprocess.run([self._program, "--wait", WAIT_SECONDS, *command], check=True, capture_output=True)


def _find() -> str:
    return shutil.which("iptables", path=os.pathsep.join([os.environ.get("PATH", ""), *EXTRA_PATHS])) or ""


def firewall_before(relay: Relay) -> Firewall:
    """Return the best there is for the port of a relay."""
    kernel = KernelFirewall(relay.port)
    return kernel if kernel.is_permitted else RelayFirewall(relay)
