"""What a worker runs: the raw proxy, or an application under uvicorn."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Protocol

from shedproxy.core import CellTable, Nanos
from shedproxy.snapshot import Document

__all__ = ["Service"]


class Service(Protocol):
    """What a worker runs: the raw proxy, or an application under uvicorn."""

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Serve on these sockets."""

    def apply(self, document: Document) -> None:
        """Serve by another document; raises DocumentInvalidError and changes nothing."""

    def take_table(self, table: CellTable | None) -> None:
        """Look keys of cells up in this table, with this document and those to come."""

    def announce(self) -> None:
        """Ask clients to go elsewhere."""

    async def drain(self, grace_ns: Nanos) -> int:
        """Finish; how many connections were cut off."""

    def close(self) -> None:
        """Stop at once."""

    def save_memory(self, *, is_short: bool) -> None:
        """Take in nobody new and hold little while memory is short."""

    def log_lines(self) -> list[str]:
        """Lines for the access log since the last call."""

    def upstream_health(self) -> dict[str, dict[str, bool]]:
        """By cell and URL: in service or not."""

    def upstream_tallies(self) -> dict[str, dict[str, list[float]]]:
        """By cell and URL: what upstreams did since the start, where that is watched."""

    def weigh_upstreams(self, weights: dict[str, dict[str, int]]) -> None:
        """Take the parts of upstreams by cell and URL."""
