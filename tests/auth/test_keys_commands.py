"""The `keys` commands: generate, list and rotate, without printing a secret."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask

from app.auth import commands
from app.auth.tokens import make_access_token
from app.security.key_files import FileKey, read_key_file
from app.security.signing_keys import KEY_SET_SECONDS
from gatepost.testing.applications import replica
from gatepost.testing.services.process import bare_environment
from tests.auth.keyrings import ALGORITHMS, jwks, ring_of, write_key
from tests.auth.support import KEY, get_me
from tests.conftest import ROOT, Person

DAY_SECONDS = 86_400


def run(app: Flask, *arguments: str) -> Result:
    """Run a command that must succeed."""
    result = app.test_cli_runner().invoke(args=["keys", *arguments])
    assert (result.exit_code, result.stderr) == (0, ""), result.output
    return result


def fail(app: Flask, *arguments: str) -> str:
    """Run a command that must fail, and return its error output."""
    result = app.test_cli_runner().invoke(args=["keys", *arguments])
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stdout) == (1, "")
    return result.stderr


def mode(path: Path | str) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


@pytest.fixture
def bare() -> Flask:
    """The application without settings, on which `keys generate` runs."""
    return commands.make_bare_app()


# generate


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_a_new_key_is_readable_by_its_owner_only(bare: Flask, tmp_path: Path, algorithm: str, umask: int) -> None:
    path = tmp_path / "token.pem"
    before = os.umask(umask)
    try:
        output = run(bare, "generate", str(path), "--algorithm", algorithm).output
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    key, public = read_key_file(str(path), needs_private=True, is_strict=True), read_key_file(f"{path}.pub")
    assert (key.algorithm, public.kid, public.private) == (algorithm, key.kid, None)
    assert key.kid in output
    for line in path.read_text().splitlines():
        assert line not in output
    assert "PRIVATE" not in Path(f"{path}.pub").read_text()


def test_each_generated_key_is_different(bare: Flask, tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(bare, "generate", str(tmp_path / name))
    kids = {read_key_file(str(tmp_path / name)).kid for name in ("a", "b")}
    assert len(kids) == 2


@pytest.mark.parametrize("there", ["token.pem", "token.pem.pub"])
@pytest.mark.parametrize("kind", ["file", "link", "dangling"])
def test_no_file_is_overwritten(bare: Flask, tmp_path: Path, there: str, kind: str) -> None:
    target = tmp_path / "target"
    if kind == "file":
        (tmp_path / there).write_text("precious")
    else:
        (tmp_path / there).symlink_to(target)
        if kind == "link":
            target.write_text("precious")
    before = sorted(path.name for path in tmp_path.iterdir())
    assert "exists. Nothing was overwritten." in fail(bare, "generate", str(tmp_path / "token.pem"))
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    if kind != "dangling":
        assert (tmp_path / there).read_text() == "precious"


def test_a_missing_folder_is_an_error(bare: Flask, tmp_path: Path) -> None:
    assert "Cannot write" in fail(bare, "generate", str(tmp_path / "nowhere" / "token.pem"))


def test_the_first_key_can_be_generated_without_settings(tmp_path: Path) -> None:
    """The production settings are missing, including the key itself."""
    path = tmp_path / "token.pem"
    env = {**bare_environment(), "APP_ENV": "production", "JWT_PRIVATE_KEY_FILE": str(path)}
    command = [sys.executable, "-m", "flask", "--app", "run", "keys"]
    made = subprocess.run(
        [*command, "generate", str(path)], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert (made.returncode, made.stderr) == (0, "")
    assert mode(path) == 0o600
    listed = subprocess.run(
        [*command, "list"], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert listed.returncode == 1
    assert "DATABASE_URL: Required in production." in listed.stderr
    assert "JWT_" not in listed.stderr


# list


def test_list_prints_ids_and_uses_and_no_secret(app: Flask, database_url: str, tmp_path: Path) -> None:
    key, other = write_key(tmp_path / "token.pem", "EdDSA"), write_key(tmp_path / "other.pem", "ES256")
    older = "older-key-of-the-tests-that-is-long-enough"
    changes = {"jwt_previous_secret_keys": (older,), "jwt_verification_key_files": (other.path,)}
    with replica(database_url, jwt_private_key_file=key.path, **changes) as app:
        output = run(app, "list").output
        kids = ring_of(app).keys.keys()
    head, *rows = (re.split(r"  +", line) for line in output.splitlines())
    assert head == ["KID", "ALGORITHM", "USE", "SOURCE"]
    assert rows[0] == [key.kid, "EdDSA", "signs, verifies", f"JWT_PRIVATE_KEY_FILE: {key.path}"]
    assert {row[0] for row in rows} == set(kids)
    assert {(row[1], row[2], row[3]) for row in rows[1:]} == {
        ("HS256", "verifies", "JWT_PREVIOUS_SECRET_KEYS"),
        ("ES256", "verifies", f"JWT_VERIFICATION_KEY_FILES: {other.path}"),
    }
    secrets = [KEY, older, *Path(key.path).read_text().splitlines(), *Path(other.path).read_text().splitlines()]
    assert not [secret for secret in secrets if secret in output]


def test_list_with_a_secret_that_signs(app: Flask) -> None:
    (row,) = run(app, "list").output.splitlines()[1:]
    assert re.fullmatch(r"[0-9a-f]{12}  HS256 +signs, verifies  JWT_SECRET_KEY", row)
    assert KEY not in row


# rotate


@pytest.fixture
def key(tmp_path: Path) -> FileKey:
    """The current signing key."""
    return write_key(tmp_path / "token.pem", "ES256")


@pytest.fixture
def service(app: Flask, database_url: str, key: FileKey) -> Iterator[Flask]:
    """An application that signs with it."""
    with replica(database_url, jwt_private_key_file=key.path) as service:
        yield service


def age(path: str, seconds: float) -> None:
    """Set the modification time of a file to so many seconds ago."""
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_rotation_in_three_steps_invalidates_no_token(
    app: Flask, database_url: str, service: Flask, key: FileKey, alice: Person
) -> None:
    """After each step, a new replica and every replica that may still run accept each other's tokens."""
    path, following, previous = key.path, f"{key.path}.next", f"{key.path}.previous"

    def token(app: Flask) -> str:
        with app.app_context():
            return make_access_token(alice.grant, fresh=True)

    def check(reads: Flask, signs: Flask, status: int = 200) -> None:
        assert get_me(reads.test_client(), token(signs)).status_code == status

    assert "Step 1 of 3" in run(service, "rotate", "--algorithm", "EdDSA").output
    new = read_key_file(following)
    assert (new.algorithm, mode(following), read_key_file(path).kid) == ("EdDSA", 0o600, key.kid)
    with replica(database_url, jwt_private_key_file=path) as first:
        assert [k["kid"] for k in jwks(first)] == [key.kid, new.kid]
        check(first, service)
        check(service, first)

        assert "Too early" in fail(first, "rotate")
        age(following, KEY_SET_SECONDS + 1)
        assert "Step 2 of 3" in run(first, "rotate").output
        assert (read_key_file(path).kid, read_key_file(previous).kid) == (new.kid, key.kid)
        assert read_key_file(f"{path}.pub").kid == new.kid
        assert not Path(following).exists()
        with replica(database_url, jwt_private_key_file=path) as second:
            assert ring_of(second).signing.kid == new.kid
            assert [k["kid"] for k in jwks(second)] == [new.kid, key.kid]
            check(second, first)
            check(first, second)

            assert "8.0 days" in fail(second, "rotate")
            age(previous, 8 * DAY_SECONDS + 1)
            assert "Step 3 of 3" in run(second, "rotate").output
            with replica(database_url, jwt_private_key_file=path) as last:
                assert [k["kid"] for k in jwks(last)] == [new.kid]
                check(last, second)
                check(second, last)
                check(last, first, 401)
    assert sorted(found.name for found in Path(path).parent.iterdir()) == ["token.pem", "token.pem.pub"]


def test_the_next_key_has_the_current_algorithm_by_default(service: Flask, key: FileKey) -> None:
    run(service, "rotate")
    assert read_key_file(f"{key.path}.next").algorithm == "ES256"


def test_the_next_key_has_the_mode_and_owner_of_the_current_one(service: Flask, key: FileKey) -> None:
    Path(key.path).chmod(0o640)
    if os.geteuid() == 0:
        os.chown(key.path, 12345, 54321)
    run(service, "rotate")
    present, following = (Path(path).stat() for path in (key.path, f"{key.path}.next"))
    assert (following.st_mode, following.st_uid, following.st_gid) == (present.st_mode, present.st_uid, present.st_gid)


def test_force_skips_the_waiting_time(service: Flask, key: FileKey) -> None:
    for step in "123":
        assert f"Step {step} of 3" in run(service, "rotate", "--force").output
    assert read_key_file(key.path).kid != key.kid


def test_the_last_waiting_time_begins_with_the_second_step(service: Flask, key: FileKey) -> None:
    """The age of the key itself does not count: it may be years old."""
    age(key.path, 1000 * DAY_SECONDS)
    run(service, "rotate")
    run(service, "rotate", "--force")
    assert "Too early" in fail(service, "rotate")


def test_an_interrupted_second_step_is_repeated(service: Flask, key: FileKey) -> None:
    run(service, "rotate")
    following = read_key_file(f"{key.path}.next")
    os.link(key.path, f"{key.path}.previous")
    assert "Step 2 of 3" in run(service, "rotate", "--force").output
    assert read_key_file(key.path).kid == following.kid
    assert read_key_file(f"{key.path}.previous").kid == key.kid


@pytest.mark.parametrize("content", ["", "rubbish", "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"])
def test_an_invalid_next_key_is_not_used(service: Flask, key: FileKey, content: str) -> None:
    Path(f"{key.path}.next").write_text(content)
    assert "contains no" in fail(service, "rotate", "--force")
    assert read_key_file(key.path).kid == key.kid
    assert not Path(f"{key.path}.previous").exists()


def test_rotate_refers_to_the_documentation_for_a_secret(app: Flask) -> None:
    assert "docs/operations.md" in fail(app, "rotate")


def test_a_read_only_folder_is_an_error(service: Flask, key: FileKey, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", key.path)

    run(service, "rotate")
    monkeypatch.setattr("os.link", refuse)
    assert "Permission denied" in fail(service, "rotate", "--force")
    assert read_key_file(key.path).kid == key.kid
