"""Makes what docker-compose.yml asks of its environment, and says what a machine lacks to run it.

`python3 tools/production_env.py` writes .env with fresh secrets, unless there is one; with --check
it only looks for Docker. Uses the standard library alone: where the stack runs, nothing else need be installed.
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"
# nginx looks for a certificate there. Docker would make the folder as root's.
TLS_FOLDER = ROOT / "var" / "tls"
DOCKER_TIMEOUT_SECONDS = 30
TEMPLATE = """\
# What docker-compose.yml needs. It holds secrets: keep it, back it up, and never commit it.

# Once the database is made, this alone changes nothing: docs/operations.md tells how to rotate it.
POSTGRES_PASSWORD={postgres_password}

# Signs the tokens. A new one signs everybody out, unless this one moves to JWT_PREVIOUS_SECRET_KEYS.
JWT_SECRET_KEY={jwt_secret_key}

# The origins of your front end, with commas between; these are where front-end tools serve while you develop.
CORS_ORIGINS=http://localhost:3000,http://localhost:5173
"""


def fresh_environment() -> str:
    """Return the text of a .env with secrets that no other has."""
    # Both are of letters, digits, - and _ alone: one goes into a URL, and no file needs quotes for them.
    return TEMPLATE.format(postgres_password=secrets.token_urlsafe(24), jwt_secret_key=secrets.token_urlsafe(48))


def write_once(path: Path) -> bool:
    """Write a fresh .env, for its owner's eyes alone, if there is no file yet; return whether that was so."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(fresh_environment())
    return True


def find_lack() -> str:
    """Return in one sentence what keeps `docker compose` from running here; nothing if it can."""
    checks = {
        "version": "is needed, and does not answer: start it, and see that you may use it.",
        "compose version": 'lacks its plugin for compose files, version 2: install "docker compose".',
    }
    for arguments, lack in checks.items():
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
            return "Docker is needed, and is not installed."
        except subprocess.TimeoutExpired:
            return f"Docker {lack}"
        if answer.returncode != 0:
            return f"Docker {lack}"
    return ""


def main() -> int:
    """Prepare the start of the stack; 1 if it can't be started here."""
    if lack := find_lack():
        print(lack, file=sys.stderr)
        return 1
    if "--check" in sys.argv[1:]:
        return 0
    TLS_FOLDER.mkdir(parents=True, exist_ok=True)
    if write_once(ENV_FILE):
        print(f"Wrote {ENV_FILE} with fresh secrets. Set CORS_ORIGINS in it to the origins of your front end.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
