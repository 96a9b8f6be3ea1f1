"""Who signed a snapshot is believed if its public key is here, and nobody else."""

from __future__ import annotations

import stat
from dataclasses import replace

import pytest

from shedproxy.errors import ConfigInvalidError
from shedproxy.snapshot import (
    Document,
    Snapshot,
    SnapshotRefusal,
    SnapshotRefusedError,
    encode_snapshot,
    open_envelope,
)
from shedproxy.store import KeyRing, SigningKey, write_key_pair

SNAPSHOT = Snapshot(revision=1, document=Document())


class Pair:
    def __init__(self, folder, name: str) -> None:
        self.private, self.public = folder / f"{name}.key", folder / f"{name}.pub"
        self.id = write_key_pair(self.private, self.public)
        self.key = SigningKey(self.private)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return [Pair(folder, name) for name in ("old", "new", "stranger")]


def envelope(*pairs: Pair, revision: int = 1):
    snapshot = replace(SNAPSHOT, revision=revision)
    return open_envelope(encode_snapshot(snapshot, [pair.key.sign for pair in pairs]))


def refusal_of(ring: KeyRing, sealed) -> SnapshotRefusedError:
    with pytest.raises(SnapshotRefusedError) as caught:
        ring.verify(sealed)
    return caught.value


def test_a_pair_is_made_once_and_its_secret_is_for_its_owner(pairs, tmp_path):
    pair = Pair(tmp_path, "a")
    assert pair.key.id == pair.id
    assert KeyRing([pair.public]).ids == (pair.id,)
    assert stat.S_IMODE(pair.private.stat().st_mode) == 0o600
    with pytest.raises(FileExistsError):
        write_key_pair(pair.private, pair.public)
    assert SigningKey(pair.private).id == pair.id


def test_half_a_pair_is_none(tmp_path):
    """A public half that is there already: nothing is left of the private one."""
    (tmp_path / "a.pub").write_text("another one")
    with pytest.raises(FileExistsError):
        write_key_pair(tmp_path / "a.key", tmp_path / "a.pub")
    assert not (tmp_path / "a.key").exists()
    assert (tmp_path / "a.pub").read_text() == "another one"


def test_a_forgery_names_the_key_that_did_not_sign(pairs):
    old, _, stranger = pairs
    sealed = envelope(stranger, old)
    altered = replace(sealed, signed=envelope(old, revision=2).signed)
    error = refusal_of(KeyRing([old.public]), altered)
    assert old.id in str(error)
    assert stranger.id not in str(error)


def test_what_a_trusted_key_signed_is_believed(pairs):
    old, new, _ = pairs
    ring = KeyRing([old.public, new.public])
    assert ring.verify(envelope(old)) == old.id
    assert ring.verify(envelope(new)) == new.id


def test_a_key_is_replaced_while_both_are_trusted_or_both_sign(pairs):
    """Trust the new one beside the old, sign with both, sign with the new, forget the old."""
    old, new, _ = pairs
    for ring, signers in (
        ([old], [old]),
        ([old, new], [old]),
        ([old], [old, new]),
        ([new], [old, new]),
        ([new, old], [new]),
        ([new], [new]),
    ):
        KeyRing([pair.public for pair in ring]).verify(envelope(*signers))


def test_strangers_and_nobody_are_told_from_forgers(pairs):
    old, new, stranger = pairs
    ring = KeyRing([old.public, new.public])
    for sealed in (envelope(stranger), envelope()):
        error = refusal_of(ring, sealed)
        assert error.refusal is SnapshotRefusal.UNKNOWN_KEY
        assert old.id in str(error)
    forged = replace(envelope(old), signed=envelope(old, revision=2).signed)
    assert refusal_of(ring, forged).refusal is SnapshotRefusal.SIGNATURE
    short = replace(envelope(old), signatures=((old.id, b"short"),))
    assert refusal_of(ring, short).refusal is SnapshotRefusal.SIGNATURE


def test_a_ring_without_keys_believes_nobody(pairs):
    assert refusal_of(KeyRing([]), envelope(pairs[0])).refusal is SnapshotRefusal.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("load", "content", "why"),
    [
        (SigningKey, b"", "no private key in PEM"),
        (SigningKey, "public", "public key: who signs needs the private half"),
        (SigningKey, "rsa", "another kind"),
        (lambda file: KeyRing([file]), b"x", "no public key in PEM"),
        (lambda file: KeyRing([file]), "private", "instances get the public half"),
        (lambda file: KeyRing([file]), "rsa public", "another kind"),
    ],
)
def test_a_file_that_is_something_else_is_told_from_a_key(tmp_path, pairs, load, content, why):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    contents = {
        "public": pairs[0].public.read_bytes(),
        "private": pairs[0].private.read_bytes(),
        "rsa": rsa_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
        "rsa public": rsa_key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ),
    }
    file = tmp_path / "file"
    file.write_bytes(contents.get(content, content))
    with pytest.raises(ConfigInvalidError, match=why):
        load(file)


def test_every_key_that_cannot_be_read_is_named(tmp_path, pairs):
    files = [tmp_path / "a.pub", pairs[0].public, tmp_path / "b.pub"]
    with pytest.raises(ConfigInvalidError) as caught:
        KeyRing(files)
    assert len(caught.value.problems) == 2
