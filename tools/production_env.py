"""Prepares the production stack of docker-compose.yml: checks for Docker and writes .env with new secrets.

`python3 tools/production_env.py` keeps an existing .env; with --check it only checks for Docker. Uses only the
standard library, because the machine that runs the stack needs no packages.
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"
# nginx reads the certificate from there. Docker would create the folder with root as its owner.
TLS_FOLDER = ROOT / "var" / "tls"
DOCKER_TIMEOUT_SECONDS = 30
TEMPLATE = """\
# The settings that docker-compose.yml requires. They contain secrets: back this file up, and never commit it.

# Used when the database is created. docs/operations.md explains how to change it later.
POSTGRES_PASSWORD={postgres_password}

# Signs the tokens. A new key signs all users out, unless the old one is moved to JWT_PREVIOUS_SECRET_KEYS.
JWT_SECRET_KEY={jwt_secret_key}

# The comma-separated origins of your front end. These two are the usual ones during development.
CORS_ORIGINS=http://localhost:3000,http://localhost:5173
"""


def fresh_environment() -> str:
    """Return the content of a .env with new random secrets."""
    # These characters need no escaping in a URL and no quotes in the file.
    return TEMPLATE.format(postgres_password=secrets.token_urlsafe(24), jwt_secret_key=secrets.token_urlsafe(48))


def write_once(path: Path) -> bool:
    """Write a new .env with mode 0600, unless there is one; return whether it was written."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(fresh_environment())
    return True


def find_docker_problem() -> str:
    """Return why `docker compose` cannot run on this machine, as a sentence; "" if it can."""
    checks = {
        "version": "is required and does not answer: start it, and check that your user has access to it.",
        "compose version": 'has no compose plugin, version 2: install "docker compose".',
    }
    for arguments, problem in checks.items():
        try:
            answer = subprocess.run(
                ["docker", *arguments.split()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=DOCKER_TIMEOUT_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            return "Docker is required and is not installed."
        except subprocess.TimeoutExpired:
            return f"Docker {problem}"
        if answer.returncode != 0:
            return f"Docker {problem}"
    return ""


def main() -> int:
    """Prepare the start of the stack; returns 1 if it cannot run on this machine."""
    if problem := find_docker_problem():
        print(problem, file=sys.stderr)
        return 1
    if "--check" in sys.argv[1:]:
        return 0
    TLS_FOLDER.mkdir(parents=True, exist_ok=True)
    if write_once(ENV_FILE):
        print(f"Wrote {ENV_FILE} with new secrets. Set CORS_ORIGINS in it to the origins of your front end.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
