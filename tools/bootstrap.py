"""Sets up what `make run` and `make test` need: a virtual environment with the locked packages.

Uses the standard library alone, and no syntax younger than Python 3.6, so that an old Python can
say in one sentence that it is too old. What can assume the packages is in serve.py.
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
# Written last: without it the environment is half-made, and is made again.
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
    """What keeps the set-up from being made, in one sentence for the person at the terminal."""


def main(arguments: List[str]) -> int:
    """Run `install-dev`, `run`, `dev` or `spa`; all but the first become the server and don't return."""
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
        raise SetupError("Say one of: install-dev, run, dev, spa.")
    except SetupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except PermissionError as error:
        sys.stderr.write(f"You may not write to {error.filename}: it is another user's.\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"Gatepost can't be set up: {error}.\n")
        return 1
    except KeyboardInterrupt:
        return 130


def serve(options: List[str]) -> NoReturn:
    """Become the server; no process of ours stays between the terminal and it."""
    sys.stdout.flush()
    os.execv(VENV_PYTHON, [VENV_PYTHON, os.path.join("tools", "serve.py")] + options)


def ensure_environment(requirements: str) -> None:
    """Make .venv hold exactly what the lock file names; quick when it does already."""
    with only_one_at_a_time() as lock:
        stamp = read_stamp()
        wanted = find_interpreter() if os.environ.get("PYTHON") or not stamp else stamp["python"]
        if stamp and stamp["python"] != wanted:
            stamp = {}
        if stamp and stamp["locks"].get(requirements) == digest(requirements):
            return
        # Removed first: whatever ends the next minute leaves no stamp behind.
        if os.path.exists(STAMP):
            os.remove(STAMP)
        if not stamp:
            make_environment(wanted, lock)
        install(requirements, lock)
        # The development lock holds all of the runtime's packages in the same versions.
        names = [RUNTIME, DEVELOPMENT] if requirements == DEVELOPMENT else [RUNTIME]
        write_stamp({"tree": ROOT, "python": wanted, "locks": {name: digest(name) for name in names}})


@contextmanager
def only_one_at_a_time() -> Iterator[int]:
    """Hold a lock that the kernel frees however this process ends, and yield its descriptor."""
    os.makedirs(os.path.dirname(LOCK), mode=0o700, exist_ok=True)
    with open(LOCK, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another run is setting up; waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def read_stamp() -> Dict[str, Any]:
    """What is known of a whole environment; empty if there is none, or one that no longer works."""
    try:
        with open(STAMP) as file:
            stamp = json.load(file)
    except (OSError, ValueError):
        return {}
    # A moved tree leaves absolute paths behind, a removed Python a dangling link.
    if stamp.get("tree") != ROOT or not os.access(VENV_PYTHON, os.X_OK):
        return {}
    return dict(stamp)


def write_stamp(stamp: Dict[str, Any]) -> None:
    """Declare the environment whole, in one step."""
    with open(STAMP + ".new", "w") as file:
        json.dump(stamp, file)
    os.replace(STAMP + ".new", STAMP)


def digest(name: str) -> str:
    """The SHA-256 of a file of the project."""
    with open(os.path.join(ROOT, name), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


def find_interpreter() -> Dict[str, Any]:
    """The first fitting Python: the one that PYTHON names, or the newest that was tested.

    Raises SetupError with the reason why the best one found does not fit.
    """
    chosen = os.environ.get("PYTHON")
    found = list(filter(None, map(probe_interpreter, [chosen] if chosen else CANDIDATES)))
    if not found:
        raise SetupError(f"PYTHON={chosen} does not start.")
    young = [probe for probe in found if probe["version"] >= OLDEST]
    for probe in young:
        if not probe["missing"]:
            return probe
    raise SetupError(why_unfit(young[0]) if young else too_old(found))


def probe_interpreter(command: str) -> Optional[Dict[str, Any]]:
    """Ask a Python what it is; None if it does not start."""
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


def too_old(found: List[Dict[str, Any]]) -> str:
    """The sentence for a machine whose every Python is too old."""
    newest = max(found, key=lambda probe: probe["version"])
    return (
        f"Gatepost needs Python 3.11 or newer, but {newest['path']} is Python {dotted(newest['version'])}: "
        "install a newer one, or name it with PYTHON=/path/to/python3."
    )


def why_unfit(probe: Dict[str, Any]) -> str:
    """The sentence for a Python that lacks a part of the standard library."""
    minor = dotted(probe["version"][:2])
    who = f"{probe['path']} (Python {minor})"
    if "venv" in probe["missing"] or "ensurepip" in probe["missing"]:
        return (
            f"{who} can't make virtual environments: install its venv module "
            f"(on Debian or Ubuntu: apt install python{minor}-venv), then run this again."
        )
    missing = " and ".join(name.lstrip("_") for name in probe["missing"])
    return f"{who} was built without {missing}: name another one with PYTHON=/path/to/python3."


def dotted(version: List[int]) -> str:
    """3.11.2 for [3, 11, 2]."""
    return ".".join(map(str, version))


def make_environment(interpreter: Dict[str, Any], lock: int) -> None:
    """Make an empty .venv, in place of whatever is there."""
    print("Making .venv with Python {}.".format(dotted(interpreter["version"])), flush=True)
    run([interpreter["path"], "-I", "-m", "venv", "--clear", VENV], "The virtual environment", lock)


def install(requirements: str, lock: int) -> None:
    """Install the locked packages, each checked against its hash."""
    print(f"Installing the packages that {requirements} locks.", flush=True)
    pip = [VENV_PYTHON, "-I", "-m", "pip", "install", "-qq", "--no-input"]
    options = ["--disable-pip-version-check", "--no-warn-script-location", "--require-hashes"]
    run(pip + options + ["-r", requirements], "The installation", lock)


def run(command: List[str], what: str, lock: int) -> None:
    """Run a step of the set-up, whose own messages come before ours; SetupError if it fails.

    The step holds the lock too: should this process be killed, the next waits for the step's end.
    """
    # A session of its own: Ctrl-C is ours to handle, without the step's traceback.
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
        raise SetupError(f"{what} failed; the reason is above.")


def step_environment() -> Dict[str, str]:
    """The environment without a person's settings that would put the packages elsewhere."""
    unwanted = ("PIP_TARGET", "PIP_PREFIX", "PIP_REQUIRE_VIRTUALENV", "PYTHONHOME", "PYTHONPATH")
    environment = {k: v for k, v in os.environ.items() if k not in unwanted}
    environment.update(PIP_USER="0", PIP_ROOT_USER_ACTION="ignore")
    if not os.access(os.path.expanduser("~"), os.W_OK):
        environment["PIP_NO_CACHE_DIR"] = "1"
    return environment


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
