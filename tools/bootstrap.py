"""Creates the virtual environment with the locked packages for `make run`, `make test` and others.

Uses only the standard library and the syntax of Python 3.6, so that an old Python can report that it
is too old. Code that needs the packages is in serve.py.
"""

import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import Any, Dict, Iterator, List, NoReturn, Optional

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VENV = os.path.join(ROOT, ".venv")
VENV_PYTHON = os.path.join(VENV, "bin", "python")
# Written last: an environment without it is incomplete, and is created again.
STAMP = os.path.join(VENV, "gatepost.json")
LOCK = os.path.join(ROOT, "var", "bootstrap.lock")
RUNTIME, DEVELOPMENT = "requirements.txt", "requirements-dev.txt"
OLDEST = [3, 11]
CANDIDATES = ["python3.13", "python3.12", "python3.11", "python3", sys.executable]
PROBE_SECONDS = 20
PROBE = """
import importlib.util, json, sys
needed = ["venv", "ensurepip", "_sqlite3", "_ssl"]
missing = [name for name in needed if importlib.util.find_spec(name) is None]
found = {"version": list(sys.version_info[:3]), "path": sys.executable, "missing": missing}
print(json.dumps(found))
"""


class SetupError(Exception):
    """The setup cannot continue; the text is one sentence for the user."""


def main(arguments: List[str]) -> int:
    """Run the command `install-dev`, `run`, `dev` or `spa`. The last three replace this process by the server."""
    os.chdir(ROOT)
    command = arguments[0] if len(arguments) == 1 else ""
    try:
        if command == "install-dev":
            ensure_environment(DEVELOPMENT)
            return 0
        if command in ("run", "dev"):
            ensure_environment(RUNTIME)
            serve(["--reload"] if command == "dev" else [])
        if command == "spa":
            ensure_environment(RUNTIME)
            sys.stdout.flush()
            os.execv(VENV_PYTHON, [VENV_PYTHON, os.path.join("tools", "spa.py")])
        raise SetupError("Usage: bootstrap.py install-dev|run|dev|spa")
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except PermissionError as error:
        sys.stderr.write(f"Permission denied: you cannot write to {error.filename}.\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"Setup failed: {error}.\n")
        return 1
    except KeyboardInterrupt:
        return 130


def serve(options: List[str]) -> NoReturn:
    """Replace this process by the server, so that signals of the terminal reach it directly."""
    sys.stdout.flush()
    os.execv(VENV_PYTHON, [VENV_PYTHON, os.path.join("tools", "serve.py")] + options)


def ensure_environment(requirements: str) -> None:
    """Install the packages of a lock file into .venv, unless they are installed already."""
    with exclusive_lock() as lock:
        stamp = read_stamp()
        wanted = find_interpreter() if os.environ.get("PYTHON") or not stamp else stamp["python"]
        if stamp and stamp["python"] != wanted:
            stamp = {}
        if stamp and stamp["locks"].get(requirements) == digest(requirements):
            return
        # Removed first, so that an interrupted installation leaves no stamp.
        if os.path.exists(STAMP):
            os.remove(STAMP)
        if not stamp:
            make_environment(wanted, lock)
        install(requirements, lock)
        # The development lock contains all packages of the runtime lock in the same versions.
        names = [RUNTIME, DEVELOPMENT] if requirements == DEVELOPMENT else [RUNTIME]
        write_stamp({"tree": ROOT, "python": wanted, "locks": {name: digest(name) for name in names}})


@contextmanager
def exclusive_lock() -> Iterator[int]:
    """Hold a lock between processes, which the kernel releases when they end, and yield its descriptor."""
    os.makedirs(os.path.dirname(LOCK), mode=0o700, exist_ok=True)
    with open(LOCK, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Waiting for another setup to finish.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def read_stamp() -> Dict[str, Any]:
    """Return what write_stamp() saved; empty if there is no complete and working environment."""
    try:
        with open(STAMP) as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return {}
    # The environment contains absolute paths to this folder and a link to the interpreter.
    if stamp.get("tree") != ROOT or not os.access(VENV_PYTHON, os.X_OK):
        return {}
    return dict(stamp)


def write_stamp(stamp: Dict[str, Any]) -> None:
    """Mark the environment as complete, atomically."""
    with open(STAMP + ".new", "w") as file:
        json.dump(stamp, file)
    os.replace(STAMP + ".new", STAMP)


def digest(name: str) -> str:
    """Return the SHA-256 of a file of the project."""
    with open(os.path.join(ROOT, name), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def find_interpreter() -> Dict[str, Any]:
    """Return the first suitable Python: the one that PYTHON names, or the first of CANDIDATES.

    Raises SetupError with the reason why the best one found is not suitable.
    """
    chosen = os.environ.get("PYTHON")
    found = list(filter(None, map(probe_interpreter, [chosen] if chosen else CANDIDATES)))
    if not found:
        raise SetupError(f"PYTHON={chosen} does not start.")
    recent = [probe for probe in found if probe["version"] >= OLDEST]
    for probe in recent:
        if not probe["missing"]:
            return probe
    raise SetupError(describe_missing_modules(recent[0]) if recent else describe_too_old(found))


def probe_interpreter(command: str) -> Optional[Dict[str, Any]]:
    """Return version, path and missing modules of a Python; None if it does not start."""
    try:
        answer = subprocess.run(
            [command, "-I", "-c", PROBE],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_SECONDS,
        )
        return dict(json.loads(answer.stdout.decode()))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def describe_too_old(found: List[Dict[str, Any]]) -> str:
    """Return the message for a machine on which every Python is too old."""
    newest = max(found, key=lambda probe: probe["version"])
    return (
        f"Gatepost needs Python 3.11 or newer, but {newest['path']} is Python {dotted(newest['version'])}: "
        "install a newer one, or set PYTHON=/path/to/python3."
    )


def describe_missing_modules(probe: Dict[str, Any]) -> str:
    """Return the message for a Python without parts of the standard library."""
    minor = dotted(probe["version"][:2])
    python = f"{probe['path']} (Python {minor})"
    if "venv" in probe["missing"] or "ensurepip" in probe["missing"]:
        return (
            f"{python} cannot create virtual environments: install its venv module "
            f"(on Debian or Ubuntu: apt install python{minor}-venv), then run this again."
        )
    missing = " and ".join(name.lstrip("_") for name in probe["missing"])
    return f"{python} was built without {missing}: set PYTHON=/path/to/python3 to use another one."


def dotted(version: List[int]) -> str:
    """Return a version as text: 3.11.2 for [3, 11, 2]."""
    return ".".join(map(str, version))


def make_environment(interpreter: Dict[str, Any], lock: int) -> None:
    """Create an empty .venv; an existing one is deleted."""
    # Emptying a link would delete the packages of another checkout.
    if os.path.islink(VENV):
        os.unlink(VENV)
    print("Creating .venv with Python {}.".format(dotted(interpreter["version"])), flush=True)
    run([interpreter["path"], "-I", "-m", "venv", "--clear", VENV], "The virtual environment", lock)


def install(requirements: str, lock: int) -> None:
    """Install the locked packages and verify their hashes."""
    print(f"Installing the packages of {requirements}.", flush=True)
    pip = [VENV_PYTHON, "-I", "-m", "pip", "install", "-qq", "--no-input"]
    options = ["--disable-pip-version-check", "--no-warn-script-location", "--require-hashes"]
    run(pip + options + ["-r", requirements], "The installation", lock)


def run(command: List[str], what: str, lock: int) -> None:
    """Run a step of the setup. Raises SetupError if it fails; the step prints the details.

    The step inherits the lock: if this process is killed, the next setup waits until the step ends.
    """
    # In a new session Ctrl-C reaches only this process, so that the step prints no traceback.
    step = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        env=step_environment(),
        pass_fds=[lock],
        start_new_session=True,
    )
    try:
        code = step.wait()
    except KeyboardInterrupt:
        os.killpg(step.pid, signal.SIGKILL)
        step.wait()
        raise
    if code != 0:
        raise SetupError(f"{what} failed; see the messages above.")


def step_environment() -> Dict[str, str]:
    """Return the environment without variables that would install the packages elsewhere."""
    unwanted = ("PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PYTHONHOME", "PYTHONPATH")
    environment = {k: v for k, v in os.environ.items() if k not in unwanted}
    environment.update(PIP_USER="0", PIP_ROOT_USER_ACTION="ignore")
    if not os.access(os.path.expanduser("~"), os.W_OK):
        environment["PIP_NO_CACHE_DIR"] = "1"
    return environment


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
