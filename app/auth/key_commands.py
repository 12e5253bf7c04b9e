"""The `keys` commands: make a signing key, see which keys are in use, and take a new one into use step by step.

Owns what is done to key files. Must not print anything of a private part.
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

from app.cli import OperatorGroup
from app.components import components
from app.security.key_files import NEXT, PREVIOUS, FileKey, PrivateKey, UnfitKeyFile, describe_key, read_key_file
from app.security.signing_keys import KEY_SET_SECONDS, keyring
from app.settings import Settings

COLUMNS = ("KID", "ALGORITHM", "ROLE", "FROM")
PUBLIC = ".pub"
DAY_SECONDS = 86_400
MAKERS: dict[str, Callable[[], PrivateKey]] = {
    "ES256": lambda: generate_private_key(SECP256R1()),
    "EdDSA": Ed25519PrivateKey.generate,
}

keys = OperatorGroup("keys", help="Make, list and rotate the keys that sign tokens.")


def make_bare_app() -> Flask:
    """Return an application without settings, for `keys generate` alone."""
    app = Flask(__name__, static_folder=None)
    app.cli.add_command(keys)
    return app


# Without the application, which may be waiting for this very key to start.
@keys.command("generate", with_appcontext=False)
@click.argument("file")
@click.option("--algorithm", type=click.Choice([*MAKERS]), default="ES256", show_default=True, help="What it signs.")
def generate(file: str, algorithm: str) -> None:
    """Make a private key.

    FILE is for its owner's eyes alone; the public half goes to FILE.pub. A file that exists is never written over.
    """
    if os.path.lexists(file + PUBLIC):
        raise click.ClickException(f"{file}{PUBLIC} exists; nothing was written.")
    key = _write_private(file, MAKERS[algorithm]())
    _write_new(file + PUBLIC, key.public_pem, 0o644)
    click.echo(f"{file}: {key.algorithm}, kid {key.kid}\n{file}{PUBLIC}: its public half")


@keys.command("list")
def list_keys() -> None:
    """List the keys and what each is for."""
    ring = keyring()
    rows = [COLUMNS]
    for key in sorted(ring.keys.values(), key=lambda key: key.kid != ring.signing.kid):
        role = "signs, verifies" if key.kid == ring.signing.kid else "verifies"
        rows.append((key.kid, key.algorithm, role, key.source))
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@keys.command("rotate")
@click.option("--algorithm", type=click.Choice([*MAKERS]), help="Of the new key; by default as the present one.")
@click.option("--force", is_flag=True, help="Do not wait until nobody needs the present state any more.")
def rotate(algorithm: str | None, force: bool) -> None:
    """Take the next step of three to a new key.

    They replace the key in JWT_PRIVATE_KEY_FILE: 1. Make the next key: it verifies. 2. Let it sign; the previous
    one verifies. 3. Delete the previous one. All replicas have to be restarted after each.
    """
    settings = components().settings
    path = settings.jwt_private_key_file
    if path is None:
        raise click.ClickException(
            "Tokens are signed with JWT_SECRET_KEY, which is no file: docs/operations.md tells how to rotate it."
        )
    try:
        _take_step(path, algorithm, settings, force=force)
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}.") from error


def _take_step(path: str, algorithm: str | None, settings: Settings, *, force: bool) -> None:
    has_next, has_previous = os.path.lexists(path + NEXT), os.path.lexists(path + PREVIOUS)
    if has_next and has_previous and Path(path).samefile(path + PREVIOUS):
        # The second step was cut short between its link and its rename.
        Path(path + PREVIOUS).unlink()
        has_previous = False
    if has_previous:
        _finish(path, 0 if force else (settings.refresh_idle_days + 1) * DAY_SECONDS)
    elif has_next:
        _switch(path, 0 if force else KEY_SET_SECONDS)
    else:
        _prepare(path, algorithm or keyring().signing.algorithm)


def _prepare(path: str, algorithm: str) -> None:
    key = _write_private(path + NEXT, MAKERS[algorithm]())
    present = Path(path).stat()
    if os.geteuid() == 0:
        # Or root would make a key that the service can't read.
        os.chown(path + NEXT, present.st_uid, present.st_gid)
    Path(path + NEXT).chmod(present.st_mode & 0o640)
    click.echo(
        f"Step 1 of 3: {path}{NEXT} is the next key, {key.algorithm}, kid {key.kid}.\n"
        f"Restart every replica, so that all verify it; {KEY_SET_SECONDS // 60} minutes later run this again."
    )


def _switch(path: str, seconds: int) -> None:
    _require_age(path + NEXT, seconds, "the key sets that others hold may lack the next key")
    key = _read(path + NEXT)
    # Hard links: at every moment there is a key that signs, and the others beside it. The link's time, which the
    # last step waits by, is that of the file.
    os.link(path, path + PREVIOUS)
    os.utime(path + PREVIOUS)
    Path(path + NEXT).replace(path)
    Path(path + PUBLIC).unlink(missing_ok=True)
    _write_new(path + PUBLIC, key.public_pem, 0o644)
    click.echo(
        f"Step 2 of 3: {path} is the next key now, kid {key.kid}; the previous one verifies.\n"
        "Restart every replica; when no token of the previous key is left, run this again."
    )


def _finish(path: str, seconds: int) -> None:
    _require_age(path + PREVIOUS, seconds, "tokens of the previous key may still be in use")
    Path(path + PREVIOUS).unlink()
    click.echo("Step 3 of 3: the previous key is deleted. Restart every replica.")


def _require_age(path: str, seconds: int, reason: str) -> None:
    left = Path(path).stat().st_mtime + seconds - time.time()
    if left > 0:
        span = f"{left / DAY_SECONDS:.1f} days" if left > DAY_SECONDS else f"{left / 60:.0f} minutes"
        raise click.ClickException(f"Too early: {reason}. Wait for {span}, or use --force. Nothing was changed.")


def _write_private(path: str, private: PrivateKey) -> FileKey:
    """Write a new private key and return it."""
    _write_new(path, private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600)
    return describe_key(path, private.public_key(), private)


def _write_new(path: str, content: bytes, mode: int) -> None:
    """Write a file that is not there yet: whole, on the disk, and never open to more than `mode` allows."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError as error:
        raise click.ClickException(f"{path} exists; nothing was written over.") from error
    except OSError as error:
        raise click.ClickException(f"{path} can't be written: {error.strerror}.") from error


def _read(path: str) -> FileKey:
    try:
        return read_key_file(path, needs_private=True)
    except UnfitKeyFile as error:
        raise click.ClickException(f"{path} {error}") from error
