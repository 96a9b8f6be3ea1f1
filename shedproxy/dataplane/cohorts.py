"""Which cohort a request is of: a keyed hash of the task or user that it belongs to, 0..1023.

Of equal rank, whole tasks are refused and not some calls of each (DAGOR, Zhou et al. 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from shedproxy.core import COHORTS
from shedproxy.dataplane.hints import VALUE_SIZE_MAX, trace_id

__all__ = ["Cohorts", "lone_cohort"]

_GOLDEN: Final = 0x278DDE6D
"""2**30 over the golden ratio: consecutive serials fall evenly over the cohorts (Knuth, vol. 3,
6.4, multiplicative hashing). Factors of 30 bits, which compiled code multiplies without a call."""
_MASK: Final = 0x3FFFFFFF


class Cohorts:
    """Reads it from the first of some headers that is there.

    Args:
        names: of the headers, in lower case.
        salt: of the hash, which nobody can look for a better cohort without.
    """

    __slots__ = ("_hash", "_names")

    def __init__(self, names: Sequence[bytes], *, salt: bytes) -> None:
        self._names = tuple(names)
        key = blake2b(salt, digest_size=32).digest()
        # Keyed where the parameters are: a key proper is a block more to hash, for each request.
        self._hash = blake2b(digest_size=8, salt=key[:16], person=key[16:])

    def read(self, found: dict[bytes, bytes]) -> int:
        """Of these headers; -1 when none names a task or user."""
        for name in self._names:
            said = found.get(name)
            if said is None:
                continue
            said = trace_id(said) if name == b"traceparent" else said.strip()
            if said:
                digest = self._hash.copy()
                digest.update(said[:VALUE_SIZE_MAX])
                # The last ten bits: what is left of the whole number, divided by COHORTS.
                end = digest.digest()
                return (end[6] << 8 | end[7]) & (COHORTS - 1)
        return -1


def lone_cohort(serial: int) -> int:
    """Of a request that names neither task nor user: each falls somewhere else."""
    return ((serial & _MASK) * _GOLDEN & _MASK) >> 20
