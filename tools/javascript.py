"""Finds Node and installs the packages of a package-lock.json, for the client, the example app and tests.

Uses only the standard library.
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
LOCK = Path("package-lock.json")
# In the folder that `npm ci` empties first, so that an interrupted installation leaves no stamp.
STAMP = Path("node_modules", ".gatepost")
OLDEST = (20, 19)
PROBE_SECONDS = 30
INSTALL_SECONDS = 600


class NodeMissing(Exception):
    """There is no suitable Node; the text names what to install."""


class NodeFailed(Exception):
    """A command failed; the text contains the end of its output."""


def find_npm() -> str:
    """Return the path of npm. Raises NodeMissing if npm or a recent enough Node is missing."""
    node, npm = shutil.which("node"), shutil.which("npm")
    wanted = f"Node {OLDEST[0]}.{OLDEST[1]} or newer with npm"
    if node is None or npm is None:
        raise NodeMissing(f"{'npm' if node else 'node'} is missing: install {wanted}.")
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=PROBE_SECONDS, check=False)
    match = re.match(r"v(\d+)\.(\d+)\.", answer.stdout)
    if match is None or (int(match[1]), int(match[2])) < OLDEST:
        raise NodeMissing(f"{node} is {answer.stdout.strip() or 'no Node'}: install {wanted}.")
    return npm


def install(folder: Path | None = None) -> None:
    """Install the locked packages of a folder, by default the project's, unless they are installed already.

    Raises NodeMissing and NodeFailed.
    """
    npm, folder = find_npm(), folder or ROOT
    digest, stamp = hashlib.sha256((folder / LOCK).read_bytes()).hexdigest(), folder / STAMP
    with _exclusive_lock():
        if stamp.exists() and stamp.read_text() == digest:
            return
        # npm would empty a linked folder, which may be that of another checkout.
        if (folder / "node_modules").is_symlink():
            (folder / "node_modules").unlink()
        print(f"Installing the packages of {folder.relative_to(ROOT) / LOCK}.", flush=True)
        # Packages must not run their own scripts during the installation.
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
        run([npm, "ci", *options], timeout_seconds=INSTALL_SECONDS)
        stamp.write_text(digest)


def run(command: list[str], *, timeout_seconds: float, environment: dict[str, str] | None = None) -> str:
    """Run a command in the project's folder and return its output. Raises NodeFailed if it fails or times out."""
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
        output = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else error.stdout
        message = f"{' '.join(command)} timed out after {timeout_seconds:g} seconds."
        raise NodeFailed(f"{message}\n{(output or '')[-4000:]}") from error
    if answer.returncode != 0:
        raise NodeFailed(f"{' '.join(command)} failed.\n{answer.stdout[-8000:]}")
    return answer.stdout


@contextmanager
def _exclusive_lock() -> Iterator[None]:
    lock = ROOT / "var" / "javascript.lock"
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Install the packages, or print why that is not possible."""
    try:
        install()
    except (NodeMissing, NodeFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
