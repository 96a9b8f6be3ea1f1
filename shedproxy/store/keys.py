"""Keys that snapshots are signed with: Ed25519 (RFC 8032), in PEM files that other tools read.

A key is known by its id, the first 16 hex digits of the SHA-256 of its public half. An instance
trusts a few public keys at once, so that a new one is trusted everywhere before it signs anything,
and the old one goes after that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from shedproxy.errors import ConfigInvalidError, Problem
from shedproxy.snapshot import Envelope, SnapshotRefusal, SnapshotRefusedError
from shedproxy.store.extra import import_extra

__all__ = ["KEYS_MAX", "KeyRing", "SigningKey", "write_key_pair"]

KEYS_MAX = 8
"""Public keys that an instance may trust at once."""
_FILE_SIZE_MAX = 64 * 1024


class SigningKey:
    """A private key; never shown, never written anywhere but by `write_key_pair`."""

    __slots__ = ("_key", "id")

    def __init__(self, file: Path) -> None:
        """Read the key.

        Raises:
            ConfigInvalidError: the file cannot be read, or holds another thing.
        """
        serialization = import_extra("cryptography.hazmat.primitives.serialization")
        ed25519 = import_extra("cryptography.hazmat.primitives.asymmetric.ed25519")
        data = _read(file)
        try:
            key = serialization.load_pem_private_key(data, password=None)
        except (ValueError, TypeError) as error:
            raise _bad(file, _why_not_private(data)) from error
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise _bad(file, "it is a key of another kind than Ed25519")
        self._key: Any = key
        self.id: str = _id_of(key.public_key())

    def sign(self, data: bytes) -> tuple[str, bytes]:
        """The id of the key, and its signature over the data: what `encode_snapshot` asks for."""
        signature: bytes = self._key.sign(data)
        return self.id, signature


class KeyRing:
    """The public keys that are trusted, by their ids."""

    __slots__ = ("_keys",)

    def __init__(self, files: Sequence[Path]) -> None:
        """Read the keys.

        Raises:
            ConfigInvalidError: with every file that cannot be read or holds another thing.
        """
        problems: list[Problem] = []
        self._keys: dict[str, Any] = {}
        for file in files:
            try:
                key = _read_public(file)
            except ConfigInvalidError as error:
                problems += error.problems
            else:
                self._keys[_id_of(key)] = key
        if problems:
            raise ConfigInvalidError(problems)

    @property
    def ids(self) -> tuple[str, ...]:
        """Of the keys, as people see them."""
        return tuple(self._keys)

    def verify(self, envelope: Envelope) -> str:
        """The id of a trusted key that signed it.

        Raises:
            SnapshotRefusedError: none did; says whether its keys are unknown or it was altered.
        """
        invalid_signature = import_extra("cryptography.exceptions").InvalidSignature
        named = [key for key, _ in envelope.signatures]
        for key, signature in envelope.signatures:
            if key in self._keys:
                try:
                    self._keys[key].verify(signature, envelope.signed)
                except invalid_signature:
                    continue
                return key
        trusted = ", ".join(self._keys) or "none"
        if known := [key for key in named if key in self._keys]:
            raise SnapshotRefusedError.of(
                SnapshotRefusal.SIGNATURE,
                f"the signature does not fit: it was altered, or key {known[0]} did not sign it",
                path=("signatures",),
            )
        what = f"signed by {', '.join(key[:32] for key in named)}" if named else "not signed"
        raise SnapshotRefusedError.of(
            SnapshotRefusal.UNKNOWN_KEY,
            f"it is {what}; trusted: {trusted}",
            path=("signatures",),
            help_text="put the public key on every instance (snapshot.keys) before it signs",
        )


def write_key_pair(private: Path, public: Path) -> str:
    """Make a key: the private half for its owner only, the public one for every instance; its id.

    Raises:
        OSError: a file exists already, or cannot be written; then neither was made.
    """
    serialization = import_extra("cryptography.hazmat.primitives.serialization")
    ed25519 = import_extra("cryptography.hazmat.primitives.asymmetric.ed25519")
    key = ed25519.Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    open_half = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    made: list[Path] = []
    try:
        for file, data, mode in ((private, secret, 0o600), (public, open_half, 0o644)):
            fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            made.append(file)
            with open(fd, "wb") as stream:  # noqa: PTH123 - a descriptor
                stream.write(data)
    except OSError:
        for file in made:
            file.unlink(missing_ok=True)
        raise
    return _id_of(key.public_key())


def _read_public(file: Path) -> Any:
    serialization = import_extra("cryptography.hazmat.primitives.serialization")
    ed25519 = import_extra("cryptography.hazmat.primitives.asymmetric.ed25519")
    data = _read(file)
    if b"PRIVATE KEY" in data:
        raise _bad(file, "it is a private key: instances get the public half, the file in .pub")
    try:
        key = serialization.load_pem_public_key(data)
    except ValueError as error:
        raise _bad(file, "it is no public key in PEM") from error
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise _bad(file, "it is a key of another kind than Ed25519")
    return key


def _why_not_private(data: bytes) -> str:
    if b"PUBLIC KEY" in data:
        return "it is a public key: who signs needs the private half"
    if b"ENCRYPTED" in data:
        return "it is encrypted; decrypt it first (openssl pkey)"
    return "it is no private key in PEM"


def _id_of(public: Any) -> str:
    serialization = import_extra("cryptography.hazmat.primitives.serialization")
    raw = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:16]


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(_FILE_SIZE_MAX)
    except OSError as error:
        raise _bad(file, error.strerror or str(error)) from error


def _bad(file: Path, why: str) -> ConfigInvalidError:
    help_text = "make a pair with: shedproxy snapshot keygen NAME"
    return ConfigInvalidError(
        [Problem(message=f"key {file}: {why}", path=("snapshot", "keys"), help=help_text)]
    )
