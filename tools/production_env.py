"""Prepares the production stack of docker-compose.yml: checks for Docker, and writes new secrets where there are none.

`python3 tools/production_env.py` keeps existing secrets; with --check it only checks for Docker, and with
--change-password it changes the database's password. Uses only the standard library, because the machine that runs the
stack needs no packages.
"""

import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENV_FILE = ROOT / ".env"
# nginx reads the certificate from there. Docker would create the folder with root as its owner.
TLS_FOLDER = ROOT / "var" / "tls"
# Only its owner can enter it. The files in it must be readable for the users of the containers, which mount them.
SECRETS_FOLDER = ROOT / "var" / "secrets"
DOCKER_TIMEOUT_SECONDS = 30
# Compose itself says what these variables are: they may be in the environment or, with quotes, in .env.
VARIABLES = """
services:
  variables:
    image: none
    environment:
      POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:-}
      DATABASE_PASSWORD_DIR: ${DATABASE_PASSWORD_DIR:-}
"""
PSQL = "docker compose exec -T db psql --username=gatepost --dbname=gatepost --quiet --set=ON_ERROR_STOP=1"
TEMPLATE = """\
# The settings that docker-compose.yml requires. They contain secrets: back this file up, and never commit it. The
# database's password is in var/secrets/database.

# Signs the tokens. A new key signs all users out, unless the old one is moved to JWT_PREVIOUS_SECRET_KEYS.
JWT_SECRET_KEY={jwt_secret_key}

# The comma-separated origins of your front end. These two are the usual ones during development.
CORS_ORIGINS=http://localhost:3000,http://localhost:5173
"""


def fresh_environment() -> str:
    """Return the content of a .env with new random secrets."""
    # These characters need no quotes in the file.
    return TEMPLATE.format(jwt_secret_key=secrets.token_urlsafe(48))


def write_once(path: Path) -> bool:
    """Write a new .env with mode 0600, unless there is one; return whether it was written."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(fresh_environment())
    return True


def read_variables() -> dict[str, str]:
    """Return the VARIABLES as Compose reads them; "" for those that are not set."""
    command = ["docker", "compose", "--file", "-", "config", "--format", "json"]
    shown = subprocess.run(command, cwd=ROOT, input=VARIABLES, stdout=subprocess.PIPE, text=True, check=True).stdout
    variables = json.loads(shown)["services"]["variables"]["environment"]
    # Compose escapes dollar signs in what it shows.
    return {name: (value or "").replace("$$", "$") for name, value in variables.items()}


def find_password_file(folder: str) -> Path:
    """Return the path of the file with the database's password; `folder` is the value of DATABASE_PASSWORD_DIR."""
    return (ROOT / folder if folder else SECRETS_FOLDER / "database") / "password"


def write_passwords(path: Path, passwords: list[str]) -> None:
    """Replace the passwords in the file in one step."""
    new = path.with_name("password.new")
    new.write_text("".join(f"{password}\n" for password in passwords), encoding="utf-8")
    new.chmod(0o644)
    new.replace(path)


def prepare_password(path: Path, given: str) -> str:
    """Write the file with the password that is given, or with a new one, unless there is one; return a message."""
    if path.exists():
        in_use = given in ("", *path.read_text(encoding="utf-8").splitlines())
        return (
            "" if in_use else f"POSTGRES_PASSWORD is not used, because {path} has the database's password: remove it."
        )
    SECRETS_FOLDER.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o755)
    write_passwords(path, [given or secrets.token_urlsafe(24)])
    return f"Wrote {path} with {'POSTGRES_PASSWORD, which can be removed' if given else 'a new password'}."


def change_password(path: Path) -> None:
    """Give the database a new password while the application serves.

    Between the two writes the application tries both passwords. If this function fails in between, as with
    CalledProcessError, it can be run again.
    """
    new = secrets.token_urlsafe(24)
    write_passwords(path, [*path.read_text(encoding="utf-8").splitlines(), new])
    # The password contains no quotes. As an argument it would be visible to other users of the machine.
    subprocess.run(PSQL.split(), cwd=ROOT, input=f"ALTER ROLE gatepost PASSWORD '{new}'", text=True, check=True)
    write_passwords(path, [new])


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
    try:
        return prepare(is_change="--change-password" in sys.argv[1:])
    except subprocess.CalledProcessError as error:
        # The command has printed the reason.
        print(f"This command failed: {' '.join(error.cmd)}", file=sys.stderr)
        return 1


def prepare(*, is_change: bool) -> int:
    """Write the secrets that do not exist, or change the database's password; returns 0. Raises CalledProcessError."""
    variables = read_variables()
    password_file = find_password_file(variables["DATABASE_PASSWORD_DIR"])
    if is_change:
        change_password(password_file)
        return 0
    if not TLS_FOLDER.exists():
        TLS_FOLDER.mkdir(parents=True)
        # nginx runs as another user and must be able to look into the folder, whatever the umask is.
        TLS_FOLDER.chmod(0o755)
    if write_once(ENV_FILE):
        print(f"Wrote {ENV_FILE} with new secrets. Set CORS_ORIGINS in it to the origins of your front end.")
    if message := prepare_password(password_file, variables["POSTGRES_PASSWORD"]):
        print(message)
    return 0


if __name__ == "__main__":
    sys.exit(main())
