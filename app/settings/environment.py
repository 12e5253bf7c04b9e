"""Reads variables from the process environment, from files, and in development from `.env`. Must not import Flask."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from dotenv import dotenv_values

_SOURCES = Path(__file__).resolve().parents[2]


def find_project() -> Path:
    """Return the folder of the project: the nearest one with a run.py, from the current folder upwards.

    If there is none, it is the folder of Gatepost's sources or, if Gatepost is installed as a package, the current one.
    """
    current = Path.cwd()
    found = (folder for folder in (current, *current.parents) if (folder / "run.py").is_file())
    return next(found, _SOURCES if (_SOURCES / "run.py").is_file() else current)


ROOT = find_project()
DEVELOPMENT_SECRETS = ROOT / "var" / "dev.env"


class InvalidValue(Exception):
    """The value of one setting is not accepted; the text gives the reason and never the value of a secret."""


class ConfigurationError(Exception):
    """The settings are invalid. The text lists every problem; `problems` has them by the variable's name."""

    def __init__(self, problems: dict[str, list[str]]) -> None:
        self.problems = problems
        count = "1 setting needs" if len(problems) == 1 else f"{len(problems)} settings need"
        lines = [f"  {name}: {' '.join(texts)}" for name, texts in sorted(problems.items())]
        super().__init__("\n".join([f"Invalid configuration: {count} to be fixed.", *lines]))


def read_variable(name: str) -> str:
    """Return the content of the file that NAME_FILE names, or the value of NAME; "" if both are unset or blank.

    Surrounding white space is removed. Raises InvalidValue if the file or the text cannot be read.
    """
    text = os.environ.get(name, "")
    if path := os.environ.get(f"{name}_FILE"):
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise InvalidValue(f"{name}_FILE does not name a readable text file.") from error
    # os.environ represents bytes that are not UTF-8 as lone surrogates.
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidValue("Must be UTF-8 text without NUL characters.")
    return text.strip()


def read_passwords(path: Path) -> list[str]:
    """Return the passwords in a file: its lines, without empty ones.

    White space around a password belongs to it. Raises InvalidValue if the file has none or cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, ValueError) as error:
        raise InvalidValue("Must name a readable text file.") from error
    passwords = [line for line in lines if line]
    if not passwords or any("\0" in password for password in passwords):
        raise InvalidValue("Must name a file with a password, which cannot contain NUL characters.")
    return passwords


def read_development_files() -> None:
    """In development, add the variables of `.env` and of the generated secrets to the process environment.

    A variable that is already set there is not changed.
    """
    if not _is_development():
        return
    for path in (ROOT / ".env", DEVELOPMENT_SECRETS):
        for name, value in dotenv_values(path).items():
            if value:
                os.environ.setdefault(name, value)
    # `.env` may have set APP_ENV to something else.
    if _is_development() and not any(map(os.environ.get, ("JWT_SECRET_KEY", "JWT_SECRET_KEY_FILE"))):
        os.environ["JWT_SECRET_KEY"] = make_development_secret()


def make_development_secret() -> str:
    """Return the signing key of this checkout; generate and save it if there is none yet.

    Saving it keeps users signed in over a restart.
    """
    DEVELOPMENT_SECRETS.parent.mkdir(exist_ok=True)
    with NamedTemporaryFile("w", dir=DEVELOPMENT_SECRETS.parent, encoding="utf-8") as file:
        file.write(f"JWT_SECRET_KEY={secrets.token_urlsafe(48)}\n")
        file.flush()
        # A link is atomic: of two processes that start at once one creates the file, and the other reads it.
        with suppress(FileExistsError):
            os.link(file.name, DEVELOPMENT_SECRETS)
    return dotenv_values(DEVELOPMENT_SECRETS).get("JWT_SECRET_KEY") or ""


def _is_development() -> bool:
    return os.environ.get("APP_ENV", "development") == "development"
