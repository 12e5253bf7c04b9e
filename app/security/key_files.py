"""Files with the keys of ES256 and EdDSA: reading them, judging them, and naming their keys (RFC 7517, 7638, 8037).

Owns what a key file may be. Must not know what the keys are for. Must not import Flask.
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
# A key is a few hundred bytes; a file that was named by mistake may be anything.
MAX_FILE_BYTES = 16_384
COORDINATE_BYTES = 32
# `flask keys rotate` keeps the key that comes and the key that went beside the one that signs.
NEXT, PREVIOUS = ".next", ".previous"
# The keys that RFC 7515 (appendix A.3), 7517 (A.2) and 8037 (A.1) print, private parts and all: anyone has them.
EXAMPLE_KIDS = frozenset(
    {
        "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",
        "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s",
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",
    }
)


class UnfitKeyFile(Exception):
    """A key file that can't be used, or in production may not be; the text tells why, and nothing of the key."""


@dataclass(frozen=True, slots=True)
class FileKey:
    """A key that a file holds. Its algorithm and its name follow from the key alone."""

    path: str
    algorithm: str
    kid: str
    jwk: Mapping[str, str]
    public: PublicKey = field(repr=False)
    private: PrivateKey | None = field(repr=False)

    @property
    def public_pem(self) -> bytes:
        """The public half, to give away."""
        return self.public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    @property
    def private_number(self) -> bytes:
        """The secret itself, or nothing for a public key: the same bytes however the file spells them."""
        if isinstance(self.private, EllipticCurvePrivateKey):
            return self.private.private_numbers().private_value.to_bytes(COORDINATE_BYTES)
        return self.private.private_bytes_raw() if self.private is not None else b""


def read_key_file(path: str, *, needs_private: bool = False, is_strict: bool = False) -> FileKey:
    """Return the key that a PEM file holds, private or public. Raises UnfitKeyFile.

    `needs_private` refuses a public key; `is_strict` refuses what is no secret, as production must: a file that
    everybody may read or write, and a key out of a standard's examples.
    """
    content, mode = _read(path)
    private = _load_private(content) if b"PRIVATE KEY-----" in content else None
    if needs_private and private is None:
        raise UnfitKeyFile("holds no private key.")
    key = describe_key(path, private.public_key() if private else _load_public(content), private)
    if is_strict:
        _require_secret(key, mode)
    return key


def describe_key(path: str, public: object, private: PrivateKey | None = None) -> FileKey:
    """Return a key with its name: the thumbprint of RFC 7638. Raises UnfitKeyFile for what signs nothing here."""
    if isinstance(public, Ed25519PublicKey):
        jwk = {"crv": "Ed25519", "kty": "OKP", "x": _text(public.public_bytes_raw())}
        algorithm = "EdDSA"
    elif isinstance(public, EllipticCurvePublicKey) and isinstance(public.curve, SECP256R1):
        numbers = public.public_numbers()
        x, y = (_text(number.to_bytes(COORDINATE_BYTES)) for number in (numbers.x, numbers.y))
        jwk = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
        algorithm = "ES256"
    else:
        raise UnfitKeyFile("holds a key of another kind: ES256 needs the curve P-256, EdDSA needs Ed25519.")
    # Section 3.3: the required members alone, in the order of their names, without white space.
    kid = _text(hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest())
    return FileKey(path, algorithm, kid, jwk, public, private)


def key_files_beside(path: str) -> tuple[str, ...]:
    """Return the files of the next and of the previous key of this one that there are."""
    return tuple(name for name in (path + NEXT, path + PREVIOUS) if os.path.lexists(name))


def _text(data: bytes) -> str:
    return base64url_encode(data).decode()


def _read(path: str) -> tuple[bytes, int]:
    """Return the bytes and the mode of one and the same file; a pipe or a device is not opened."""
    try:
        if not Path(path).is_file():
            raise UnfitKeyFile("is no file that can be read.")
        with Path(path).open("rb") as file:
            return file.read(MAX_FILE_BYTES), os.fstat(file.fileno()).st_mode
    except (OSError, ValueError) as error:
        raise UnfitKeyFile("is no file that can be read.") from error


def _load_private(content: bytes) -> PrivateKey:
    try:
        key = load_pem_private_key(content, password=None)
    except TypeError as error:
        raise UnfitKeyFile("is encrypted: nobody is there to type a passphrase when a worker starts.") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnfitKeyFile("holds no PEM key that can be read.") from error
    if not isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey):
        describe_key("", key.public_key())
        raise UnfitKeyFile("holds a key of another kind.")
    return key


def _load_public(content: bytes) -> object:
    try:
        return load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UnfitKeyFile("holds no PEM key that can be read.") from error


def _require_secret(key: FileKey, mode: int) -> None:
    if key.private is not None and mode & stat.S_IRWXO:
        raise UnfitKeyFile("is open to every user of the machine: set its mode to 0600.")
    if mode & stat.S_IWOTH:
        raise UnfitKeyFile("can be written by every user of the machine: set its mode to 0644.")
    if key.kid in EXAMPLE_KIDS:
        raise UnfitKeyFile("holds the example key of a standard, which everybody knows.")
