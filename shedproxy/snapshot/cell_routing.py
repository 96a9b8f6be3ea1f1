"""How requests are spread over cells by a key: the part of a document that says so, and the hash.

Everything here is the same on every instance: the hash is keyed with a secret that all of them
have, so that nobody outside can aim at a cell, and a table made of equal parts is equal bytes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address
from typing import Final

from shedproxy.core import build_cell_table

__all__ = [
    "CELL_KEY_KINDS",
    "SEGMENTS_MAX",
    "CellRouting",
    "address_key",
    "canonical_key",
    "cell_hash",
    "cell_table_of",
    "flow_hash",
    "flow_key",
    "host_key",
    "member_hash",
    "run_lengths",
    "secret_id",
    "split_cell_key",
    "written_key",
]

CELL_KEY_KINDS: Final = ("header", "api-key", "path", "host", "@client")
"""What can be a key. `header:NAME`: of trusted peers only, it may be chosen by whoever sends it.
`api-key:NAME`: of anybody, a credential that the service checks; it is hashed and never kept.
`path:N`: segment N of the path, from 1. `host`. `@client`: the client's address."""
SEGMENTS_MAX: Final = 16
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CellRouting:
    """A key, and the table that it is looked up in. Without a key nothing is."""

    key: str = ""
    """`header:NAME`, `api-key:NAME`, `path:N`, `host`, `@client`, or "" for none."""
    secret: str = ""
    """Keys the hash, and that of tenants; the same on all instances."""
    default: str = "default"
    """The cell of requests that have no key."""
    version: int = 0
    cells: tuple[str, ...] = ()
    """Names by the numbers that places have."""
    buckets: tuple[tuple[int, int], ...] = ()
    """(place, how many buckets in a row have it), from bucket 0 on."""
    pins: tuple[tuple[str, int], ...] = ()
    """(hash of a pinned key as 16 hex digits, its place)."""


def cell_hash(secret: str) -> Callable[[bytes], int]:
    """The hash of keys, 1..2**64-1: BLAKE2b, keyed with the secret."""
    keyed = blake2b(digest_size=8, key=_material(secret), person=b"cell")

    def hashed(key: bytes) -> int:
        digest = keyed.copy()
        digest.update(key)
        return int.from_bytes(digest.digest(), "big") or 1

    return hashed


def flow_key(secret: str) -> bytes:
    """What tenants are hashed with where processes must agree; b"" without a secret."""
    return blake2b(secret.encode(), digest_size=32, person=b"flows").digest() if secret else b""


def flow_hash(key: bytes) -> Callable[[bytes], int]:
    """The hash of tenants, 0 for nobody: what they queue, share and have hands by."""
    keyed = blake2b(digest_size=8, key=key, person=b"flow")

    def hashed(tenant: bytes) -> int:
        if not tenant:
            return 0
        digest = keyed.copy()
        digest.update(tenant)
        return int.from_bytes(digest.digest(), "big")

    return hashed


def member_hash(url: str) -> int:
    """An upstream as hands are dealt from it. No secret: the tenants' hash has one."""
    return int.from_bytes(blake2b(url.encode(), digest_size=8).digest(), "big")


def secret_id(secret: str) -> int:
    """A number by which tables for another secret are told apart; it says nothing of the secret."""
    digest = blake2b(digest_size=8, key=_material(secret), person=b"cell id").digest()
    return int.from_bytes(digest, "big")


def canonical_key(kind: str, value: bytes) -> bytes:
    """What is hashed of a key: outer blanks do not count, and case only in credentials."""
    value = value.strip()
    if kind == "api-key":
        return value
    if value.isascii():
        return value.lower()
    text = unicodedata.normalize("NFKC", value.decode("utf-8", "surrogateescape")).strip()
    return text.casefold().encode("utf-8", "surrogateescape")


def host_key(value: bytes) -> bytes:
    """A Host without its port."""
    value = value.strip()
    if value.startswith(b"["):
        return value.partition(b"]")[0]
    return value.partition(b":")[0].rstrip(b".")


def address_key(text: str) -> bytes:
    """Who is behind an address, as far as it tells: an IPv4 address, or the /64 of an IPv6 one; b""
    for what is no address.

    A host of IPv6 has 2**64 addresses to choose from: each for itself would be a tenant more.
    """
    try:
        address = ip_address(text)
    except ValueError:
        return b""
    mapped = getattr(address, "ipv4_mapped", None)
    # No header's value holds a zero byte, so that nobody is called like this.
    return b"\0" + (address if mapped is None else mapped).packed[:8]


def written_key(kind: str, text: str) -> bytes:
    """What is hashed of a key as people write it, so that requests with that key are found.

    Args:
        kind: of `CELL_KEY_KINDS`.
        text: an address for "@client", a host with or without its port, a segment as it is read.

    Raises:
        ValueError: no request has such a key; the message says what is expected.
    """
    if kind == "@client":
        key = address_key(text.strip())
        if not key:
            raise ValueError(f'"{text}" is no address')
        return key
    value = text.encode("utf-8", "surrogateescape")
    key = canonical_key(kind, host_key(value) if kind == "host" else value)
    if not key:
        raise ValueError("the key is empty")
    return key


def split_cell_key(key: str) -> tuple[str, str]:
    """The kind of a key, and the name of its header or the number of its segment.

    Raises:
        ValueError: it is none; the message says what is expected.
    """
    kind, colon, name = key.partition(":")
    if kind in {"header", "api-key"} and _TOKEN.fullmatch(name):
        return kind, name.lower()
    if kind == "path" and name.isascii() and name.isdecimal() and 1 <= int(name) <= SEGMENTS_MAX:
        return kind, name
    if kind in {"host", "@client"} and not colon:
        return kind, ""
    raise ValueError('expected "header:NAME", "api-key:NAME", "path:1", "host" or "@client"')


def cell_table_of(routing: CellRouting) -> bytes:
    """The table that the parts describe.

    Raises:
        ValueError: they do not fit together.
    """
    buckets: list[int] = []
    for place, count in routing.buckets:
        buckets += [place] * min(count, 1 << 20)
    if routing.default not in routing.cells:
        raise ValueError(f"cell {routing.default} is not in the table of cells")
    return build_cell_table(
        routing.cells,
        buckets,
        {int(digits, 16): place for digits, place in routing.pins},
        default=routing.cells.index(routing.default),
        version=routing.version,
        secret_id=secret_id(routing.secret),
    )


def run_lengths(places: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Equal neighbours as (place, how many)."""
    runs: list[tuple[int, int]] = []
    for place in places:
        if runs and runs[-1][0] == place:
            runs[-1] = (place, runs[-1][1] + 1)
        else:
            runs.append((place, 1))
    return tuple(runs)


def _material(secret: str) -> bytes:
    return blake2b(secret.encode(), digest_size=32).digest()
