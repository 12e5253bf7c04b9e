"""Finds the server programs that tests need and pip cannot install; on Debian it installs them.

`python -m tools.services redis …` provides the named ones. As root it installs them by apt-get; as another user it
unpacks the same packages into var/cache and changes nothing outside of that folder.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CACHE = Path(__file__).resolve().parent.parent / "var" / "cache" / "services"
# Folders of server programs that are not on the PATH of an ordinary user.
EXTRA_PATHS = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/bin")
# Debian's packages run it before they start a service; exit status 101 forbids the start.
START_POLICY = Path("/usr/sbin/policy-rc.d")
APT_TIMEOUT_SECONDS = 600


@dataclass(frozen=True)
class Component:
    """A program, and the Debian packages that contain it."""

    command: str
    packages: tuple[str, ...]
    # Whether it runs from the folder that its packages are unpacked into.
    is_portable: bool = True

    @property
    def advice(self) -> str:
        """The message for a machine without the program."""
        packages = " ".join(self.packages)
        return f"{self.command} is missing: install it (on Debian: apt install {packages})."


@dataclass(frozen=True)
class Program:
    """The path of a program, and the environment variables that it needs."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)


COMPONENTS = {
    "chromium": Component("chromium", ("chromium",), is_portable=False),
    "nginx": Component("nginx", ("nginx", "openssl")),
    "redis": Component("redis-server", ("redis-server",)),
    # The shell and tools of images that are based on Alpine.
    "busybox": Component("busybox", ("busybox",)),
    # Only for `make bench`.
    "wrk": Component("wrk", ("wrk",)),
}


def locate(name: str) -> Program | None:
    """Return the program of a component on this machine or among the unpacked packages, or None."""
    component = COMPONENTS[name]
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *EXTRA_PATHS])
    if path := shutil.which(component.command, path=search):
        return Program(Path(path))
    root = CACHE / name
    unpacked = os.pathsep.join(str(root / folder) for folder in ("usr/bin", "usr/sbin", "bin"))
    if path := shutil.which(component.command, path=unpacked):
        libraries = sorted({str(library.parent) for library in root.rglob("*.so*")})
        return Program(Path(path), {"LD_LIBRARY_PATH": os.pathsep.join(libraries)})
    return None


def provide(name: str) -> bool:
    """Install a component if it is missing, and return whether it is available."""
    if locate(name) is not None:
        return True
    if shutil.which("apt-get") is None:
        return False
    component = COMPONENTS[name]
    try:
        if os.geteuid() == 0:
            print(f"Installing {' '.join(component.packages)} for the tests.", flush=True)
            _install(component.packages)
        elif component.is_portable:
            print(f"Unpacking {' '.join(component.packages)} into {CACHE / name}.", flush=True)
            _unpack(component.packages, CACHE / name)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"The installation failed: {error}", file=sys.stderr)
    return locate(name) is not None


def _install(packages: Sequence[str]) -> None:
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    with _services_not_started():
        if _run(command, check=False) != 0:
            _run(["apt-get", "update"])
            _run(command)


@contextlib.contextmanager
def _services_not_started() -> Iterator[None]:
    """Keep packages from starting services on this machine; the tests start their own."""
    if START_POLICY.exists():
        yield
        return
    START_POLICY.write_text("#!/bin/sh\nexit 101\n")
    START_POLICY.chmod(0o755)
    try:
        yield
    finally:
        START_POLICY.unlink(missing_ok=True)


def _unpack(packages: Sequence[str], target: Path) -> None:
    """Download packages and their missing dependencies, and unpack them into `target`."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Renamed at the end, so that an interrupted attempt leaves no incomplete folder.
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        state, archives, root = (Path(scratch, part) for part in ("state", "archives", "root"))
        for folder in (state / "lists" / "partial", archives / "partial", root):
            folder.mkdir(parents=True)
        own_folders = [
            *("-o", f"Dir::State={state}", "-o", "Dir::State::status=/var/lib/dpkg/status"),
            *("-o", f"Dir::Cache={archives}", "-o", f"Dir::Cache::archives={archives}"),
            *("-o", "Debug::NoLocking=true", "-o", "APT::Sandbox::User="),
        ]
        _run(["apt-get", *own_folders, "update"])
        download = ["install", "-y", "--no-install-recommends", "--download-only"]
        _run(["apt-get", *own_folders, *download, *packages])
        for archive in sorted(archives.glob("*.deb")):
            _run(["dpkg-deb", "-x", str(archive), str(root)])
        shutil.rmtree(target, ignore_errors=True)
        root.rename(target)


def _run(command: Sequence[str], *, check: bool = True) -> int:
    """Run apt or dpkg without prompts. With `check` a failure prints the output and raises CalledProcessError."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    answer = subprocess.run(
        command,
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        timeout=APT_TIMEOUT_SECONDS,
    )
    if check and answer.returncode != 0:
        sys.stderr.write(answer.stdout)
        raise subprocess.CalledProcessError(answer.returncode, command[0])
    return answer.returncode


def main(names: Sequence[str]) -> int:
    """Provide the named components; returns 1 if one is missing in CI, where no test may be skipped."""
    missing = [name for name in names if not provide(name)]
    for name in missing:
        print(f"{COMPONENTS[name].advice} Tests that need it are skipped.", file=sys.stderr)
    in_ci = os.environ.get("CI", "").lower() in ("1", "true")
    return 1 if missing and in_ci else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
