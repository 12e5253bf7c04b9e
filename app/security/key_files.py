"""Reads and validates the key files for ES256 and EdDSA, and computes the key IDs (RFC 7517, 7638, 8037).

It must not import Flask: the settings validate key files before there is an application.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from jwt.utils import base64url_encode

PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey
PublicKey = EllipticCurvePublicKey | Ed25519PublicKey
# A key has a few hundred bytes, but a path that was entered by mistake may name a file of any size.
MAX_FILE_BYTES = 16_384
COORDINATE_BYTES = 32
# Suffixes of the files in which `flask keys rotate` keeps the next and the previous key.
NEXT, PREVIOUS = ".next", ".previous"
# The keys that RFC 7515 (appendix A.3), 7517 (A.2) and 8037 (A.1) publish including their private parts.
EXAMPLE_KIDS = frozenset(
    {
        "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",
        "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s",
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    }
)


class InvalidKeyFile(Exception):
    """A key file that can't be used. The text is a predicate that follows the path, and contains nothing of the key."""


@dataclass(frozen=True, slots=True)
class FileKey:
    """A key read from a file. The algorithm and the key ID are derived from the key."""

    path: str
    algorithm: str
    kid: str
    jwk: Mapping[str, str]
    public: PublicKey = field(repr=False)
    private: PrivateKey | None = field(repr=False)

    @property
    def public_pem(self) -> bytes:
        """The public key in PEM."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def private_number(self) -> bytes:
        """The private number as bytes, independent of the file's encoding; empty for a public key."""
        if isinstance(self.private, EllipticCurvePrivateKey):
            return self.private.private_numbers().private_value.to_bytes(COORDINATE_BYTES)
        return self.private.private_bytes_raw() if self.private is not None else b""


def read_key_file(path: str, *, needs_private: bool = False, is_strict: bool = False) -> FileKey:
    """Return the private or public key in a PEM file. Raises InvalidKeyFile.

    `needs_private` refuses a public key. `is_strict`, for production, refuses keys that are not secret: a file that
    all users of the machine can read or write, and the example keys of RFCs.
    """
    content, mode = _read(path)
    private = _load_private(content) if b"PRIVATE KEY-----" in content else None
    if needs_private and private is None:
        raise InvalidKeyFile("contains no private key.")
    key = describe_key(path, private.public_key() if private else _load_public(content), private)
    if is_strict:
        _require_secret(key, mode)
    return key


def describe_key(path: str, public: object, private: PrivateKey | None = None) -> FileKey:
    """Return a key with its ID, the thumbprint of RFC 7638. Raises InvalidKeyFile for other kinds of keys."""
    if isinstance(public, Ed25519PublicKey):
        jwk = {"crv": "Ed25519", "kty": "OKP", "x": _text(public.public_bytes_raw())}
        algorithm = "EdDSA"
    elif isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        numbers = public.public_numbers()
        x, y = (_text(number.to_bytes(COORDINATE_BYTES)) for number in (numbers.x, numbers.y))
        jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        algorithm = "ES256"
    else:
        raise InvalidKeyFile("contains a key of another kind: ES256 needs the curve P-256, EdDSA needs Ed25519.")
    # RFC 7638 section 3.3: only the required members, sorted by name, without white space.
    kid = _text(hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest())
    return FileKey(path, algorithm, kid, jwk, public, private)


def find_rotation_files(path: str) -> tuple[str, ...]:
    """Return those files of the next and the previous key of a key file that exist."""
    return tuple(name for name in (path + NEXT, path + PREVIOUS) if os.path.lexists(name))


def _text(data: bytes) -> str:
    return base64url_encode(data).decode()


def _read(path: str) -> tuple[bytes, int]:
    """Return the content and the mode of the same file. Pipes and devices are not opened, as that could block."""
    try:
        if not Path(path).is_file():
            raise InvalidKeyFile("is not a readable file.")
        with Path(path).open("rb") as file:
            return file.read(MAX_FILE_BYTES), os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as error:
        raise InvalidKeyFile("is not a readable file.") from error


def _load_private(content: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError as error:
        raise InvalidKeyFile("is encrypted: a server that starts unattended can't ask for a passphrase.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKeyFile("contains no valid PEM key.") from error
    if not isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey):
        describe_key("", key.public_key())
        raise InvalidKeyFile("contains a key of another kind.")
    return key


def _load_public(content: bytes) -> object:
    try:
        return load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InvalidKeyFile("contains no valid PEM key.") from error


def _require_secret(key: FileKey, mode: int) -> None:
    if key.private is not None and mode & stat.S_IRWXO:
        raise InvalidKeyFile("is readable or writable by all users of the machine: set its mode to 0600.")
    if mode & stat.S_IWOTH:
        raise InvalidKeyFile("is writable by all users of the machine: set its mode to 0644.")
    if key.kid in EXAMPLE_KIDS:
        raise InvalidKeyFile("contains the example key of an RFC, which is public.")
