"""A period of managed mode: bytes, entries, allocations and CPU, however much of the table changed.

A table of 16 384 buckets and 100 000 pinned keys, of which 0 %, 1 % or 100 % are other than in the
period before. What is measured is what a supervisor does (read, verify, parse, compile, write for
workers) and what a worker's loop stands still for (map and swap).
"""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

from benchmarks.method import Report, Row, Spread
from shedproxy.core import BUCKETS, build_cell_table, seconds
from shedproxy.dataplane.cell_keys import CellKeys
from shedproxy.dataplane.table_page import TablePage, TableReader
from shedproxy.dataplane.trust import Trust
from shedproxy.settings import load_settings
from shedproxy.snapshot import Snapshot, encode_snapshot, secret_id, snapshot_of
from shedproxy.store import KeyRing, SigningKey, open_place, write_key_pair
from shedproxy.supervisor.snapshot_judge import Accepted, SnapshotJudge

__all__ = ["measure"]

PINS = 100_000
SHARES = (0.0, 0.01, 1.0)
CELLS = ("default", "b")


class Fleet:
    """Publishes tables, and does what an instance does with them."""

    def __init__(self, folder: Path) -> None:
        chance = random.Random(1)
        self.keys = [chance.getrandbits(64) | 1 for _ in range(PINS)]
        self.revision = 0
        self.flipped = 0
        write_key_pair(folder / "a.key", folder / "a.pub")
        self.signer = SigningKey(folder / "a.key")
        overrides = {
            "cell.default.upstream": ["http://127.0.0.1:9"],
            "cells.key": "api-key:x-tenant",
            "cells.secret": "s",
        }
        document = load_settings(overrides=overrides).document
        cells = tuple(replace(document.policy.cells[0], name=name) for name in CELLS)
        document = replace(document, policy=replace(document.policy, cells=cells))
        self.base: Snapshot = snapshot_of(document, revision=1)
        self.routing = document.classification.cells
        self.judge = SnapshotJudge(
            KeyRing([folder / "a.pub"]),
            size_max=16 << 20,
            shed_max=1.0,
            local=lambda: document,
            needs_upstream=True,
        )
        self.place = open_place(str(folder / "current"), timeout=seconds(30))
        self.in_force: Accepted | None = None
        self.slot = -1

    def publish(self, share: float) -> None:
        """The next revision, with a share of its entries in the other cell."""
        self.revision += 1
        self.flipped ^= 1
        places = [self.flipped if n < share * BUCKETS else 0 for n in range(BUCKETS)]
        pins = {key: self.flipped if n < share * PINS else 0 for n, key in enumerate(self.keys)}
        table = build_cell_table(CELLS, places, pins, version=7, secret_id=secret_id("s"))
        made = replace(self.base, revision=self.revision, table=table)
        asyncio.run(self.place.write(encode_snapshot(made, [self.signer.sign])))

    def period(self, page: TablePage) -> tuple[int, int]:
        """Bytes read, and entries compiled."""
        data = asyncio.run(self.place.read(16 << 20))
        accepted = self.judge.judge(data, in_force=self.in_force, highest=self.revision - 1)
        used = () if self.slot < 0 else (self.slot,)
        self.slot = page.write(accepted.snapshot.table, used)
        self.in_force = accepted
        table = page.table(self.slot, len(accepted.snapshot.table))
        return len(data), BUCKETS + table.pin_count


def measure(*, quick: bool, rounds: int = 0) -> Report:
    report = Report("A period of managed mode, 16 384 buckets and 100 000 pinned keys", "as named")
    with tempfile.TemporaryDirectory() as folder:
        fleet = Fleet(Path(folder))
        page = TablePage.create(16 << 20)
        reader = TableReader(os.dup(page.fd))
        found: dict[tuple[str, float], list[float]] = {}
        pauses: list[float] = []
        for _ in range(rounds or (2 if quick else 7)):
            for share in SHARES:
                _round(fleet, page, reader, share, found, pauses)
        page.close()
    for (what, share), values in sorted(found.items()):
        report.rows.append(Row(f"{what}, {share:.0%} changed", Spread.of(values)))
    report.rows.append(Row("pause of a data loop, ms", Spread.of(pauses)))
    for what in ("bytes read", "entries compiled", "allocated at the peak, bytes"):
        ratios = [b / a for a, b in zip(found[what, 0.0], found[what, 1.0], strict=True)]
        report.ratios.append(Row(f"{what}, 100 % over 0 % changed", Spread.of(ratios)))
    return report


def _round(
    fleet: Fleet,
    page: TablePage,
    reader: TableReader,
    share: float,
    found: dict[tuple[str, float], list[float]],
    pauses: list[float],
) -> None:
    keys = CellKeys(replace(fleet.routing, cells=CELLS), Trust(()))
    fleet.publish(share)
    tracemalloc.start()
    read, entries = fleet.period(page)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    fleet.publish(share)
    began = time.process_time()
    fleet.period(page)
    cpu_ms = (time.process_time() - began) * 1000
    began = time.perf_counter()
    assert fleet.in_force is not None
    reader.turn_to([fleet.slot, len(fleet.in_force.snapshot.table)])
    assert reader.table is not None
    keys.take(reader.table)
    pauses.append((time.perf_counter() - began) * 1000)
    for what, value in (
        ("bytes read", read),
        ("entries compiled", entries),
        ("allocated at the peak, bytes", peak),
        ("CPU, ms", cpu_ms),
    ):
        found.setdefault((what, share), []).append(value)
