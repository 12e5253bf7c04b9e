"""Key files: which are accepted, and the hashes that are keyed with them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from flask import Flask

from app.security.key_files import InvalidKeyFile, read_key_file
from app.security.keyed_hashes import KeyedHasher, service_secrets
from app.security.rate_limits import LimitName, RateLimits
from gatepost.testing.applications import replica
from tests.auth.keyrings import ALGORITHMS, new_key, private_pem, public_pem, write_key
from tests.conftest import API, Person, settings_for

# Content of a file


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("form", [PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL])
def test_private_keys_in_every_usual_encoding(tmp_path: Path, algorithm: str, form: PrivateFormat) -> None:
    if (algorithm, form) == ("EdDSA", PrivateFormat.TraditionalOpenSSL):
        form = PrivateFormat.PKCS8
    key, path = new_key(algorithm), tmp_path / "key"
    pem = key.private_bytes(Encoding.PEM, form, NoEncryption())
    # `openssl ecparam -genkey` writes the curve's name first; some editors write CRLF.
    curve = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    for text in (pem, b"\n" + pem, pem.strip(), pem.replace(b"\n", b"\r\n"), *([curve + pem] * (algorithm == "ES256"))):
        path.write_bytes(text)
        assert read_key_file(str(path), needs_private=True).algorithm == algorithm


def test_the_public_and_the_private_file_of_a_key_have_the_same_kid(tmp_path: Path) -> None:
    key = write_key(tmp_path / "key")
    public = read_key_file(f"{tmp_path / 'key'}.pub")
    assert (public.kid, public.jwk, public.private_number) == (key.kid, key.jwk, b"")
    assert len(key.private_number) == 32


@pytest.mark.parametrize("kind", ["ES384", "ES512", "ES256K", "RS256", "Ed448", "X25519"])
def test_keys_of_other_kinds_are_refused(tmp_path: Path, kind: str) -> None:
    key, path = new_key(kind), tmp_path / "key"
    for text in (private_pem(key), public_pem(key)):
        path.write_bytes(text)
        with pytest.raises(InvalidKeyFile, match="of another kind: ES256 needs the curve P-256"):
            read_key_file(str(path))


PEM = b"-----BEGIN %b-----\nAAAA\n-----END %b-----\n"
RUBBISH = {
    "empty": b"",
    "text": b"not a key",
    "binary": bytes(range(256)) * 10,
    "private": PEM.replace(b"%b", b"PRIVATE KEY"),
    "public": PEM.replace(b"%b", b"PUBLIC KEY"),
    "certificate": PEM.replace(b"%b", b"CERTIFICATE"),
    "ssh": PEM.replace(b"%b", b"OPENSSH PRIVATE KEY"),
    "cut": private_pem(new_key("ES256"))[:120],
    "long": b"x" * 10_000_000,
}


@pytest.mark.parametrize("name", RUBBISH)
def test_a_file_without_a_key_is_refused_with_a_reason(tmp_path: Path, name: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(RUBBISH[name])
    with pytest.raises(InvalidKeyFile, match="contains no valid PEM key"):
        read_key_file(str(path))


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(private_pem(new_key("ES256"), BestAvailableEncryption(b"passphrase")))
    with pytest.raises(InvalidKeyFile, match="is encrypted"):
        read_key_file(str(path))


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "device", "dangling", "loop", "nul"])
def test_a_path_that_is_no_regular_file_is_refused(tmp_path: Path, kind: str) -> None:
    """Opening a pipe would block the start."""
    path = tmp_path / "key"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind in ("dangling", "loop"):
        path.symlink_to(path if kind == "loop" else tmp_path / "nowhere")
    name = {"device": "/dev/zero", "nul": "a\0b"}.get(kind, str(path))
    with pytest.raises(InvalidKeyFile, match="is not a readable file"):
        read_key_file(name)


def test_symbolic_links_are_followed_as_mounted_secrets_use_them(tmp_path: Path) -> None:
    key = write_key(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert read_key_file(str(tmp_path / "link"), is_strict=True).kid == key.kid


# Keyed hashes


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_keyed_hashes_work_with_a_private_key_alone(tmp_path: Path, algorithm: str) -> None:
    """All replicas derive the same secret, the key set does not reveal it, and a rotation keeps it."""
    key = write_key(tmp_path / "key", algorithm)
    alone = settings_for("sqlite:////nowhere/x.db", jwt_secret_key="", jwt_private_key_file=key.path)
    (secret,) = service_secrets(alone)
    assert len(secret) == 64
    assert key.private_number.hex() not in secret
    signature = KeyedHasher(alone).sign(b"purpose", b"data")
    assert KeyedHasher(alone).verify(b"purpose", b"data", signature)
    # The same key in another file and another encoding.
    Path(tmp_path / "copy").write_bytes(Path(key.path).read_bytes().replace(b"\n", b"\r\n"))
    copy = settings_for("sqlite:////nowhere/x.db", jwt_secret_key="", jwt_private_key_file=str(tmp_path / "copy"))
    assert service_secrets(copy) == (secret,)
    Path(key.path).rename(key.path + ".previous")
    write_key(Path(key.path))
    assert KeyedHasher(alone).verify(b"purpose", b"data", signature)
    assert KeyedHasher(alone).sign(b"purpose", b"data") != signature


def test_a_rotation_of_the_private_key_keeps_the_hashes_of_the_secret(tmp_path: Path) -> None:
    before = settings_for("sqlite:////nowhere/x.db", jwt_private_key_file=write_key(tmp_path / "a").path)
    after = settings_for("sqlite:////nowhere/x.db", jwt_private_key_file=write_key(tmp_path / "b").path)
    assert KeyedHasher(before).sign(b"purpose", b"data") == KeyedHasher(after).sign(b"purpose", b"data")
    assert service_secrets(before)[0] == service_secrets(after)[0] == before.jwt_secret_key


def test_cursors_and_stored_responses_work_without_a_secret(
    app: Flask, database_url: str, alice: Person, tmp_path: Path
) -> None:
    changes = {"jwt_secret_key": "", "jwt_private_key_file": write_key(tmp_path / "key").path}
    with replica(database_url, **changes) as service:
        from app.auth.tokens import make_access_token

        with service.app_context():
            token = make_access_token(alice.grant, fresh=True)
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "once"}
        client = service.test_client()
        body = {"title": "A title", "content": "A text"}
        first, again = (client.post(f"{API}/posts", json=body, headers=headers) for _ in range(2))
        assert (first.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
        client.post(f"{API}/posts", json=body, headers=headers | {"Idempotency-Key": "twice"})
        cursor = client.get(f"{API}/posts?limit=1").get_json()["pagination"]["next_cursor"]
        assert client.get(f"{API}/posts?limit=1&cursor={cursor}").status_code == 200


def test_limits_are_counted_without_a_secret(tmp_path: Path) -> None:
    settings = settings_for(
        "sqlite:////nowhere/x.db",
        jwt_secret_key="",
        jwt_private_key_file=write_key(tmp_path / "key").path,
        ratelimit_enabled=True,
    )
    window = RateLimits(settings, KeyedHasher(settings)).hit(LimitName.DEFAULT, "an address")
    assert window is not None
    assert window.remaining == 599
