"""The settings that name keys and secrets: which are accepted, and which production refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.utils import base64url_decode

from app.settings import Settings
from tests.auth.keyrings import ALGORITHMS, Private, new_key, private_pem, public_pem, write_key
from tests.settings.support import KEY, OTHER_KEY, PRODUCTION, load, load_in, problems, production


def load_production(**environ: str) -> Settings:
    """Return the settings of a valid production environment with these keys alone."""
    return load_in("production", **(PRODUCTION | {"JWT_SECRET_KEY": ""} | environ))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_private_key_is_enough(tmp_path: Path, algorithm: str) -> None:
    key = write_key(tmp_path / "key", algorithm)
    settings = load_production(JWT_PRIVATE_KEY_FILE=key.path)
    assert (settings.jwt_private_key_file, settings.jwt_secret_key) == (key.path, "")
    shown = settings.masked()
    assert (shown["JWT_PRIVATE_KEY_FILE"], shown["JWT_SECRET_KEY"]) == (key.path, "")


def test_further_keys_are_separated_by_commas(tmp_path: Path) -> None:
    a, b = (write_key(tmp_path / name).path for name in "ab")
    assert load_production(
        JWT_SECRET_KEY=KEY, JWT_VERIFICATION_KEY_FILES=f" {a}, {b}.pub ,"
    ).jwt_verification_key_files == (a, f"{b}.pub")


def test_all_errors_are_reported_at_once_with_the_path(tmp_path: Path) -> None:
    (tmp_path / "wrong").write_bytes(private_pem(new_key("ES384")))
    key = write_key(tmp_path / "key")
    found = problems(
        JWT_PRIVATE_KEY_FILE=str(tmp_path / "missing"),
        JWT_VERIFICATION_KEY_FILES=f"{key.path},{tmp_path / 'wrong'}",
        WEB_THREADS="0",
    )
    assert found.keys() == {"JWT_PRIVATE_KEY_FILE", "JWT_VERIFICATION_KEY_FILES", "WEB_THREADS"}
    assert found["JWT_PRIVATE_KEY_FILE"] == [f"{tmp_path / 'missing'} is not a readable file."]
    assert found["JWT_VERIFICATION_KEY_FILES"][0].startswith(f"{tmp_path / 'wrong'} contains a key of another kind")


def test_a_public_key_is_refused_for_signing(tmp_path: Path) -> None:
    key = write_key(tmp_path / "key")
    assert problems(JWT_PRIVATE_KEY_FILE=f"{key.path}.pub") == {
        "JWT_PRIVATE_KEY_FILE": [f"{key.path}.pub contains no private key."]
    }


@pytest.mark.parametrize("ending", [".next", ".previous"])
def test_the_next_and_previous_keys_are_validated_too(tmp_path: Path, ending: str) -> None:
    key = write_key(tmp_path / "key")
    Path(key.path + ending).write_text("rubbish")
    assert problems(JWT_PRIVATE_KEY_FILE=key.path).keys() == {"JWT_PRIVATE_KEY_FILE"}


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o606, 0o601, 0o777])
def test_production_refuses_a_private_key_that_all_users_can_read(tmp_path: Path, mode: int) -> None:
    key = write_key(tmp_path / "key")
    Path(key.path).chmod(mode)
    names = ("JWT_PRIVATE_KEY_FILE", "JWT_VERIFICATION_KEY_FILES")
    found = production(JWT_SECRET_KEY="", **dict.fromkeys(names, key.path))
    for name in names:
        assert found[name] == [f"{key.path} is readable or writable by all users of the machine: set its mode to 0600."]
    assert load(JWT_VERIFICATION_KEY_FILES="", JWT_PRIVATE_KEY_FILE=key.path).jwt_private_key_file == key.path


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440, 0o640])
def test_production_accepts_a_key_for_its_owner_or_group(tmp_path: Path, mode: int) -> None:
    key = write_key(tmp_path / "key")
    Path(key.path).chmod(mode)
    assert load_production(JWT_PRIVATE_KEY_FILE=key.path).jwt_private_key_file == key.path


def test_production_refuses_a_public_key_that_all_users_can_write(tmp_path: Path) -> None:
    public = Path(write_key(tmp_path / "key").path + ".pub")
    public.chmod(0o644)
    settings = load_production(JWT_SECRET_KEY=KEY, JWT_VERIFICATION_KEY_FILES=str(public))
    assert settings.jwt_verification_key_files == (str(public),)
    public.chmod(0o666)
    assert production(JWT_VERIFICATION_KEY_FILES=str(public)).keys() == {"JWT_VERIFICATION_KEY_FILES"}


EXAMPLES: dict[str, Private] = {
    "RFC 7515": derive_private_key(
        int.from_bytes(base64url_decode("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI")), SECP256R1()
    ),
    "RFC 7517": derive_private_key(
        int.from_bytes(base64url_decode("870MB6gfuTJ4HtUnUvYMyJpr5eUZNP4Bk43bVdj3eAE")), SECP256R1()
    ),
    "RFC 8037": Ed25519PrivateKey.from_private_bytes(base64url_decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")),
}


@pytest.mark.parametrize("standard", EXAMPLES)
def test_production_refuses_the_example_keys_of_rfcs(tmp_path: Path, standard: str) -> None:
    path = tmp_path / "key"
    path.write_bytes(private_pem(EXAMPLES[standard]))
    path.chmod(0o600)
    assert "example key" in production(JWT_SECRET_KEY="", JWT_PRIVATE_KEY_FILE=str(path))["JWT_PRIVATE_KEY_FILE"][0]


# Secrets


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SECRET_KEY", KEY),
        ("DATABASE_URL", f"postgresql://gatepost:{KEY}@db/gatepost"),
        ("REDIS_URL", f"redis://:{KEY}@cache:6379/0"),
    ],
)
@pytest.mark.parametrize("variable", ["JWT_SECRET_KEY", "JWT_PREVIOUS_SECRET_KEYS"])
def test_production_refuses_a_secret_that_another_setting_uses(variable: str, name: str, value: str) -> None:
    found = production(**({"JWT_SECRET_KEY": OTHER_KEY, variable: KEY, name: value}))
    assert found.keys() == {variable}
    assert name in found[variable][0]
    assert KEY not in str(found)


@pytest.mark.parametrize("previous", [KEY, f"{OTHER_KEY},{OTHER_KEY}"])
def test_production_refuses_a_secret_that_is_named_twice(previous: str) -> None:
    found = production(JWT_SECRET_KEY=KEY, JWT_PREVIOUS_SECRET_KEYS=previous)
    assert found.keys() == {"JWT_PREVIOUS_SECRET_KEYS"}


def test_a_secret_verifies_beside_a_private_key_if_listed_as_previous(tmp_path: Path) -> None:
    key = write_key(tmp_path / "key")
    settings = load_production(JWT_SECRET_KEY=KEY, JWT_PREVIOUS_SECRET_KEYS=KEY, JWT_PRIVATE_KEY_FILE=key.path)
    assert settings.jwt_previous_secret_keys == (KEY,)


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
    assert production(JWT_SECRET_KEY=secret) == {"JWT_SECRET_KEY": ["Looks like an example value."]}


def test_a_pem_key_is_no_secret(tmp_path: Path) -> None:
    """The PEM of a public key is not secret: anyone could sign tokens with it."""
    for text in (public_pem(new_key("ES256")), private_pem(new_key("EdDSA"))):
        (tmp_path / "key").write_bytes(text)
        found = problems(JWT_SECRET_KEY="", JWT_SECRET_KEY_FILE=str(tmp_path / "key"))
        assert "JWT_PRIVATE_KEY_FILE" in found["JWT_SECRET_KEY"][0]
