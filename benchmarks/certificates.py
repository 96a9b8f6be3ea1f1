"""A certificate for the loopback, of the kind that most sites have: ECDSA on P-256."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from benchmarks.method import NotMeasuredError

__all__ = ["Certificate", "make_certificate"]


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM files: its chain, its key, and both."""

    chain: Path
    key: Path
    both: Path


def make_certificate(home: Path) -> Certificate:
    """Signed by an authority that nobody knows.

    Raises:
        NotMeasuredError: the package that makes it is not installed.
    """
    try:
        trustme = importlib.import_module("trustme")
    except ImportError as error:
        raise NotMeasuredError("trustme, which makes the certificate, is not installed") from error
    made = trustme.CA().issue_cert("localhost", "127.0.0.1")
    files = Certificate(home / "chain.pem", home / "key.pem", home / "both.pem")
    chain = b"".join(blob.bytes() for blob in made.cert_chain_pems)
    files.chain.write_bytes(chain)
    files.key.write_bytes(made.private_key_pem.bytes())
    files.both.write_bytes(chain + files.key.read_bytes())
    return files
