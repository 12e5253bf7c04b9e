"""The `sessions` command deletes old sessions, stored responses and rate limit counters, for a daily timer. `users
set-password` replaces a password.

The `keys` commands generate a signing key, list the keys in use, and rotate the signing key in three steps. None of
them prints any part of a private key.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flask import Flask

from app.api.errors import ValidationFailed
from app.api.idempotency import service as idempotency
from app.api.request_body import load
from app.auth import sessions as service
from app.auth.schemas import NewPassword
from app.auth.service import replace_password
from app.cli import OperatorGroup, align
from app.components import components
from app.database import in_batches, transaction
from app.security.key_files import NEXT, PREVIOUS, FileKey, InvalidKeyFile, PrivateKey, describe_key, read_key_file
from app.security.passwords import find_weakness, hash_password
from app.security.rate_limits import database_storage
from app.security.signing_keys import KEY_SET_SECONDS, keyring
from app.settings import Settings
from app.users.commands import find_account, read_address, read_password, users

# Small enough for the statement timeout, and for other writers to run between two batches.
BATCH = 2000
COLUMNS = ("KID", "ALGORITHM", "USE", "SOURCE")
PUBLIC = ".pub"
DAY_SECONDS = 86_400
GENERATORS: dict[str, Callable[[], PrivateKey]] = {
    "ES256": lambda: generate_private_key(SECP256R1()),
    "EdDSA": Ed25519PrivateKey.generate,
}

sessions = OperatorGroup("sessions", help="Delete expired sessions, responses and counters.")
keys = OperatorGroup("keys", help="Generate, list and rotate the keys that sign tokens.")


@users.command("set-password")
@click.option("--email", required=True, help="The address of the account.")
def set_password(email: str) -> None:
    """Set the password of an account and end its sessions.

    Prompts for the password twice. If standard input is not a terminal, its first line is the password.
    """
    address = read_address(email)
    with transaction():
        user = find_account(address)
    password: str = load(NewPassword(), {"password": read_password()})["password"]
    weakness = find_weakness(password, name=user.name, email=user.email)
    if weakness:
        raise ValidationFailed({"password": [weakness]})
    password_hash = hash_password(password)
    with transaction():
        user = find_account(address)
        replace_password(user.id, password_hash)
    click.echo(f"{user.email} has a new password and no sessions." + ("" if user.is_active else " It is disabled."))


@sessions.command("prune")
def prune() -> None:
    """Delete old sessions, stored responses and rate limit counters."""
    click.echo(f"{in_batches(service.prune, BATCH)} old sessions deleted.")
    click.echo(f"{in_batches(idempotency.prune, BATCH)} stored responses to Idempotency-Keys deleted.")
    click.echo(f"{in_batches(database_storage.prune, BATCH)} expired rate limit counters deleted.")


def make_bare_app() -> Flask:
    """Return an application without settings, on which only `keys generate` works."""
    app = Flask(__name__, static_folder=None)
    app.cli.add_command(keys)
    return app


# Without the application, whose settings may name the key that does not exist yet.
@keys.command("generate", with_appcontext=False)
@click.argument("file")
@click.option(
    "--algorithm", type=click.Choice([*GENERATORS]), default="ES256", show_default=True, help="The algorithm."
)
def generate(file: str, algorithm: str) -> None:
    """Generate a private key.

    Writes it to FILE, readable by the owner only, and the public key to FILE.pub. Never overwrites a file.
    """
    if os.path.lexists(file + PUBLIC):
        raise click.ClickException(f"{file}{PUBLIC} exists. Nothing was overwritten.")
    key = _write_private(file, GENERATORS[algorithm]())
    _write_new(file + PUBLIC, key.public_pem, 0o644)
    click.echo(f"{file}: {key.algorithm}, kid {key.kid}\n{file}{PUBLIC}: the public key")


@keys.command("list")
def list_keys() -> None:
    """List the keys, with the use and the source of each."""
    ring = keyring()
    rows = [COLUMNS]
    for key in sorted(ring.keys.values(), key=lambda key: key.kid != ring.signing.kid):
        use = "signs, verifies" if key.kid == ring.signing.kid else "verifies"
        rows.append((key.kid, key.algorithm, use, key.source))
    click.echo(align(rows))


@keys.command("rotate")
@click.option(
    "--algorithm", type=click.Choice([*GENERATORS]), help="Algorithm of the new key; default: as the current one."
)
@click.option("--force", is_flag=True, help="Skip the waiting time of this step.")
def rotate(algorithm: str | None, force: bool) -> None:
    """Run the next of three steps that replace the key.

    1. Generate the next key; it verifies tokens. 2. The next key signs, and the previous one verifies. 3. Delete the
    previous key. Restart all replicas after each step.
    """
    settings = components().settings
    path = settings.jwt_private_key_file
    if path is None:
        raise click.ClickException(
            "Tokens are signed with JWT_SECRET_KEY, which is not a file. docs/operations.md describes how to rotate it."
        )
    try:
        _run_step(path, algorithm, settings, force=force)
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}.") from error


def _run_step(path: str, algorithm: str | None, settings: Settings, *, force: bool) -> None:
    has_next, has_previous = os.path.lexists(path + NEXT), os.path.lexists(path + PREVIOUS)
    if has_next and has_previous and Path(path).samefile(path + PREVIOUS):
        # The second step was interrupted between link and rename.
        Path(path + PREVIOUS).unlink()
        has_previous = False
    if has_previous:
        _finish(path, 0 if force else (settings.refresh_idle_days + 1) * DAY_SECONDS)
    elif has_next:
        _switch(path, 0 if force else KEY_SET_SECONDS)
    else:
        _prepare(path, algorithm or keyring().signing.algorithm)


def _prepare(path: str, algorithm: str) -> None:
    key = _write_private(path + NEXT, GENERATORS[algorithm]())
    current = Path(path).stat()
    if os.geteuid() == 0:
        # A key that belongs to root could not be read by the service.
        os.chown(path + NEXT, current.st_uid, current.st_gid)
    Path(path + NEXT).chmod(current.st_mode & 0o640)
    click.echo(
        f"Step 1 of 3: {path}{NEXT} is the next key, {key.algorithm}, kid {key.kid}.\n"
        f"Restart all replicas, so that they verify with it. Run this again {KEY_SET_SECONDS // 60} minutes later."
    )


def _switch(path: str, seconds: int) -> None:
    _require_age(path + NEXT, seconds, "other services may have cached a key set without the next key")
    key = _read(path + NEXT)
    # A hard link and a rename, so that the signing key exists at every moment. The last step measures the age of the
    # previous key by its modification time.
    os.link(path, path + PREVIOUS)
    os.utime(path + PREVIOUS)
    Path(path + NEXT).replace(path)
    Path(path + PUBLIC).unlink(missing_ok=True)
    _write_new(path + PUBLIC, key.public_pem, 0o644)
    click.echo(
        f"Step 2 of 3: {path} is now the next key, kid {key.kid}. The previous key verifies.\n"
        "Restart all replicas. Run this again when all tokens of the previous key have expired."
    )


def _finish(path: str, seconds: int) -> None:
    _require_age(path + PREVIOUS, seconds, "tokens of the previous key may still be in use")
    Path(path + PREVIOUS).unlink()
    click.echo("Step 3 of 3: the previous key is deleted. Restart all replicas.")


def _require_age(path: str, seconds: int, reason: str) -> None:
    left = Path(path).stat().st_mtime + seconds - time.time()
    if left > 0:
        span = f"{left / DAY_SECONDS:.1f} days" if left > DAY_SECONDS else f"{left / 60:.0f} minutes"
        raise click.ClickException(f"Too early: {reason}. Wait {span}, or use --force. Nothing was changed.")


def _write_private(path: str, private: PrivateKey) -> FileKey:
    """Write a new private key and return it."""
    _write_new(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    return describe_key(path, private.public_key(), private)


def _write_new(path: str, content: bytes, mode: int) -> None:
    """Create a file with `mode` from the start, and sync it to disk. Raises ClickException if the file exists."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise click.ClickException(f"{path} exists. Nothing was overwritten.") from error
    except OSError as error:
        raise click.ClickException(f"Cannot write {path}: {error.strerror}.") from error


def _read(path: str) -> FileKey:
    try:
        return read_key_file(path, needs_private=True)
    except InvalidKeyFile as error:
        raise click.ClickException(f"{path} {error}") from error
