"""`[cells]`: which cell a request goes to by its key."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from shedproxy.settings.quantities import invalid
from shedproxy.settings.section import CellName, Section, preset
from shedproxy.snapshot import split_cell_key

__all__ = ["CellsSettings"]

PINS_MAX = 100_000
_WEIGHT_MAX = 10_000


def _cell_key(value: str) -> str:
    if not value:
        return value
    try:
        kind, name = split_cell_key(value)
    except ValueError as error:
        raise invalid(f'"{value}" is no key of a request', help_text=str(error)) from None
    return f"{kind}:{name}" if name else kind


class CellsSettings(Section):
    """Spread requests over cells by a key, so that what one tenant does stays in one cell. A rule
    that names a cell comes first; then a key that is pinned; then the bucket of the key. Requests
    without a key go to `default`.
    """

    key: Annotated[str, AfterValidator(_cell_key)] = ""
    """"header:NAME" (of trusted proxies only), "api-key:NAME" (a header of anybody, hashed and not
    kept), "path:1" (a segment of the path, from 1), "host", "@client" (the client's address), or ""
    for none."""
    secret: str = preset("", max_length=256)
    """Keys the hash that keys are spread by, so that nobody can aim at a cell. The same on all
    instances."""
    default: CellName = "default"
    """Cell of requests that have no key, or one that does not count."""
    weights: dict[CellName, Annotated[int, Field(ge=0, le=_WEIGHT_MAX)]] = preset({}, max_length=64)
    """Cells that keys are spread over, each with its share of 16384 buckets; one that is added at
    the end takes its share and moves no other key. Empty: all but `default`, alike."""
    demand: float | None = preset(None, ge=0, examples=[1200.0])
    """Requests per second that all keys together ask for at their peak. A cell gets its weight's
    part of it, and a weight that is more than the cell's maximum is refused: what its calibrated
    profile (or its limit and baseline) says that its upstreams carry."""
    pins: dict[str, CellName] = preset({}, max_length=PINS_MAX)
    """Keys with a cell of their own choice: a very large tenant, or one in quarantine. Hosts with
    or without a port; addresses, of IPv6 for their /64. Hosts that take snapshots look them up
    where they lie, however many; others read them again at every reload, in which each worker
    stands still: from some ten thousand on, use snapshots."""
