"""Finds Node and installs the packages that package-lock.json locks, for the client, the example app and their tests.

Uses the standard library alone.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "package-lock.json"
# Inside the folder that `npm ci` empties first: an interrupted installation leaves none.
STAMP = ROOT / "node_modules" / ".gatepost"
OLDEST = (20, 19)
PROBE_SECONDS = 30
INSTALL_SECONDS = 600


class NodeMissing(Exception):
    """No Node that fits; the text says what to install."""


class NodeFailed(Exception):
    """npm did not do what it was asked to; the text holds the end of what it said."""


def find_npm() -> str:
    """Return npm's path. Raises NodeMissing if it or a Node that is new enough is missing."""
    node, npm = shutil.which("node"), shutil.which("npm")
    wanted = f"Node {OLDEST[0]}.{OLDEST[1]} or newer with npm"
    if node is None or npm is None:
        raise NodeMissing(f"{'npm' if node else 'node'} is missing: install {wanted}.")
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    match = re.match(r"v(\d+)\.(\d+)\.", answer.stdout)
    if match is None or (int(match[1]), int(match[2])) < OLDEST:
        raise NodeMissing(f"{node} is {answer.stdout.strip() or 'no Node'}: install {wanted}.")
    return npm


def install() -> None:
    """Make node_modules hold exactly what the lock names; quick when it does already.

    Raises NodeMissing and NodeFailed.
    """
    npm = find_npm()
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()
    with _only_one_at_a_time():
        if STAMP.exists() and STAMP.read_text() == digest:
            return
        print("Installing the packages that package-lock.json locks.", flush=True)
        # No package may run a script of its own while it is installed.
        run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], timeout_seconds=INSTALL_SECONDS)
        STAMP.write_text(digest)


def run(command: list[str], *, timeout_seconds: float, environment: dict[str, str] | None = None) -> str:
    """Run a command in the project's folder and return what it printed. Raises NodeFailed."""
    try:
        answer = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "NO_COLOR": "1", "NO_UPDATE_NOTIFIER": "1", **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout
        raise NodeFailed(f"{' '.join(command)} took too long.\n{(said or '')[-4000:]}") from error
    if answer.returncode != 0:
        raise NodeFailed(f"{' '.join(command)} failed.\n{answer.stdout[-8000:]}")
    return answer.stdout


@contextmanager
def _only_one_at_a_time() -> Iterator[None]:
    lock = ROOT / "var" / "javascript.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Install the packages, or say in a sentence why that can't be done."""
    try:
        install()
    except (NodeMissing, NodeFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
