"""Key files and the settings that name them: which are accepted, and which production refuses."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from flask import Flask
from jwt.utils import base64url_decode

from app.security.key_files import InvalidKeyFile, read_key_file
from app.security.keyed_hashes import KeyedHasher, service_secrets
from app.security.rate_limits import LimitName, RateLimits
from app.settings import ConfigurationError, Settings, load_settings
from tests.auth.keyrings import ALGORITHMS, Private, new_key, private_pem, public_pem, replica, write_key
from tests.conftest import API, Person, settings_for

SECRET = "k3Yv9-Qw7xZ_b2Np5-Lr8tUc1Ms4Ha6Df0Ge"
OTHER_SECRET = "Zx8Cv7Bn6Mq5We4Rt3Yu2Io1Pa0Sd9Fg8Hj7"
NAMES = {field.name.upper() for field in fields(Settings)}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Remove all settings from the environment."""
    for name in [*os.environ]:
        if name in NAMES or name.removesuffix("_FILE") in NAMES or name == "SECRET_KEY":
            monkeypatch.delenv(name)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def configure(app_env: str, **changes: str) -> None:
    """Set the environment of an application, except for its keys."""
    os.environ.update(
        {
            "APP_ENV": app_env,
            "DATABASE_URL": "postgresql://gatepost:Pw4-Kd8s0Wm3Xv6Qz1Tb9Yc5Hf2Rg7Nj@db/gatepost",
            "CORS_ORIGINS": "https://app.example.com",
        }
        | changes
    )


def problems(app_env: str, **changes: str) -> dict[str, list[str]]:
    """Return the configuration errors of the environment."""
    configure(app_env, **changes)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    return caught.value.problems


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


# Settings


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_private_key_is_enough(tmp_path: Path, algorithm: str) -> None:
    key = write_key(tmp_path / "key", algorithm)
    configure("production", JWT_PRIVATE_KEY_FILE=key.path)
    settings = load_settings()
    assert (settings.jwt_private_key_file, settings.jwt_secret_key) == (key.path, "")
    shown = settings.masked()
    assert (shown["JWT_PRIVATE_KEY_FILE"], shown["JWT_SECRET_KEY"]) == (key.path, "")


@pytest.mark.usefixtures("environment")
def test_further_keys_are_separated_by_commas(tmp_path: Path) -> None:
    a, b = (write_key(tmp_path / name).path for name in "ab")
    configure("production", JWT_SECRET_KEY=SECRET, JWT_VERIFICATION_KEY_FILES=f" {a}, {b}.pub ,")
    assert load_settings().jwt_verification_key_files == (a, f"{b}.pub")


@pytest.mark.usefixtures("environment")
def test_all_errors_are_reported_at_once_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "wrong").write_bytes(private_pem(new_key("ES384")))
    key = write_key(tmp_path / "key")
    found = problems(
        "testing",
        JWT_PRIVATE_KEY_FILE=str(tmp_path / "missing"),
        JWT_VERIFICATION_KEY_FILES=f"{key.path},{tmp_path / 'wrong'}",
        WEB_THREADS="0",
    )
    assert found.keys() == {"JWT_PRIVATE_KEY_FILE", "JWT_VERIFICATION_KEY_FILES", "WEB_THREADS"}
    assert found["JWT_PRIVATE_KEY_FILE"] == [f"{tmp_path / 'missing'} is not a readable file."]
    assert found["JWT_VERIFICATION_KEY_FILES"][0].startswith(f"{tmp_path / 'wrong'} contains a key of another kind")


@pytest.mark.usefixtures("environment")
def test_a_public_key_is_refused_for_signing(tmp_path: Path) -> None:
    key = write_key(tmp_path / "key")
    assert problems("testing", JWT_PRIVATE_KEY_FILE=f"{key.path}.pub") == {
        "JWT_PRIVATE_KEY_FILE": [f"{key.path}.pub contains no private key."]
    }


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("ending", [".next", ".previous"])
def test_the_next_and_previous_keys_are_validated_too(tmp_path: Path, ending: str) -> None:
    key = write_key(tmp_path / "key")
    Path(key.path + ending).write_text("rubbish")
    assert problems("testing", JWT_PRIVATE_KEY_FILE=key.path).keys() == {"JWT_PRIVATE_KEY_FILE"}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("mode", [0o604, 0o644, 0o606, 0o601, 0o777])
def test_production_refuses_a_private_key_that_all_users_can_read(tmp_path: Path, mode: int) -> None:
    key = write_key(tmp_path / "key")
    Path(key.path).chmod(mode)
    names = ("JWT_PRIVATE_KEY_FILE", "JWT_VERIFICATION_KEY_FILES")
    found = problems("production", **dict.fromkeys(names, key.path))
    for name in names:
        assert found[name] == [f"{key.path} is readable or writable by all users of the machine: set its mode to 0600."]
    os.environ.pop("JWT_VERIFICATION_KEY_FILES")
    configure("testing", JWT_PRIVATE_KEY_FILE=key.path)
    assert load_settings().jwt_private_key_file == key.path


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_production_accepts_a_key_for_its_owner_or_group(tmp_path: Path, mode: int) -> None:
    key = write_key(tmp_path / "key")
    Path(key.path).chmod(mode)
    configure("production", JWT_PRIVATE_KEY_FILE=key.path)
    assert load_settings().jwt_private_key_file == key.path


@pytest.mark.usefixtures("environment")
def test_production_refuses_a_public_key_that_all_users_can_write(tmp_path: Path) -> None:
    public = Path(write_key(tmp_path / "key").path + ".pub")
    public.chmod(0o644)
    configure("production", JWT_SECRET_KEY=SECRET, JWT_VERIFICATION_KEY_FILES=str(public))
    assert load_settings().jwt_verification_key_files == (str(public),)
    public.chmod(0o666)
    assert problems("production").keys() == {"JWT_VERIFICATION_KEY_FILES"}


EXAMPLES: dict[str, Private] = {
    "RFC 7515": derive_private_key(
        int.from_bytes(base64url_decode("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI")), SECP256R1()
    ),
    "RFC 7517": derive_private_key(
        int.from_bytes(base64url_decode("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE")), SECP256R1()
    ),
    "RFC 8037": Ed25519PrivateKey.from_private_bytes(base64url_decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")),
}


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("standard", EXAMPLES)
def test_production_refuses_the_example_keys_of_rfcs(tmp_path: Path, standard: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(private_pem(EXAMPLES[standard]))
    path.chmod(0o600)
    assert "example key" in problems("production", JWT_PRIVATE_KEY_FILE=str(path))["JWT_PRIVATE_KEY_FILE"][0]


# Secrets


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", SECRET),
        ("DATABASE_URL", f"postgresql://gatepost:{SECRET}@db/gatepost"),
        ("REDIS_URL", f"redis://:{SECRET}@cache:6379/0"),
    ],
)
@pytest.mark.parametrize("variable", ["JWT_SECRET_KEY", "JWT_PREVIOUS_SECRET_KEYS"])
def test_production_refuses_a_secret_that_another_setting_uses(variable: str, name: str, value: str) -> None:
    found = problems("production", **({"JWT_SECRET_KEY": OTHER_SECRET, variable: SECRET, name: value}))
    assert found.keys() == {variable}
    assert name in found[variable][0]
    assert SECRET not in str(found)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("previous", [SECRET, f"{OTHER_SECRET},{OTHER_SECRET}"])
def test_production_refuses_a_secret_that_is_named_twice(previous: str) -> None:
    found = problems("production", JWT_SECRET_KEY=SECRET, JWT_PREVIOUS_SECRET_KEYS=previous)
    assert found.keys() == {"JWT_PREVIOUS_SECRET_KEYS"}


@pytest.mark.usefixtures("environment")
def test_a_secret_verifies_beside_a_private_key_if_listed_as_previous(tmp_path: Path) -> None:
    key = write_key(tmp_path / "key")
    configure("production", JWT_SECRET_KEY=SECRET, JWT_PREVIOUS_SECRET_KEYS=SECRET, JWT_PRIVATE_KEY_FILE=key.path)
    assert load_settings().jwt_previous_secret_keys == (SECRET,)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "secret",
    [
        "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow",
        *("a-string-secret-at-least-256-bits-long", "your-256-bit-secret-0123456789abcdef"),
        *("your_jwt_signing_key_0123456789abcdef", "a-key-for-the-tests-alone-0123456789"),
        *("Gatepost-2026-jwt-signing-1234567890", "replace-me-in-production-1234567890"),
        "CHANGE_ME_CHANGE_ME_CHANGE_ME_CHANGE_ME",
    ],
)
def test_production_refuses_example_secrets_of_documentation(secret: str) -> None:
    assert problems("production", JWT_SECRET_KEY=secret) == {"JWT_SECRET_KEY": ["Looks like an example value."]}


@pytest.mark.usefixtures("environment")
def test_a_pem_key_is_no_secret(tmp_path: Path) -> None:
    """The PEM of a public key is not secret: anyone could sign tokens with it."""
    for text in (public_pem(new_key("ES256")), private_pem(new_key("EdDSA"))):
        (tmp_path / "key").write_bytes(text)
        found = problems("testing", JWT_SECRET_KEY_FILE=str(tmp_path / "key"))
        assert "JWT_PRIVATE_KEY_FILE" in found["JWT_SECRET_KEY"][0]


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
            token = make_access_token(alice.id, alice.session_id, fresh=True)
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
