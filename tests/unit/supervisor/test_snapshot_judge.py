"""What is put in force, and what is refused, each with its reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.snapshots import Fleet, document_of, moving_document

from shedproxy.core import BUCKETS, CellTable, MovePhase, build_cell_table, motion_place
from shedproxy.snapshot import (
    Document,
    Snapshot,
    SnapshotRefusal,
    SnapshotRefusedError,
    TlsDocument,
    secret_id,
    snapshot_of,
)
from shedproxy.store import KeyRing
from shedproxy.supervisor.recent_traffic import Minute, Served
from shedproxy.supervisor.snapshot_judge import SnapshotJudge, document_here

LOCAL = document_of(limit=64, upstream="http://127.0.0.1:8000")
BUSY = [Minute({("default", "critical"): Served(600, 600)}, ())] * 60
"""Ten slots."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    return Fleet(tmp_path_factory.mktemp("fleet"))


def judge_of(fleet, *, minutes=(), local=LOCAL, needs_upstream=True) -> SnapshotJudge:
    return SnapshotJudge(
        KeyRing([fleet.public]),
        size_max=1 << 20,
        shed_max=0.2,
        local=lambda: local,
        needs_upstream=needs_upstream,
        minutes=lambda: minutes,
    )


def refusal_of(judge, data, **state) -> SnapshotRefusal:
    with pytest.raises(SnapshotRefusedError) as caught:
        judge.judge(data, **state)
    assert caught.value.problems
    return caught.value.refusal


def test_a_good_one_is_accepted(fleet):
    accepted = judge_of(fleet).judge(fleet.of(document_of(7), 3), highest=2)
    assert accepted.revision == 3
    assert accepted.key == fleet.key.id
    assert accepted.digest.startswith("sha256:")
    assert accepted.document.policy.cells[0].limit.maximum == 7


def test_a_copy_that_is_not_the_newest_holds_what_was_marked(fleet):
    """The newer one, which is lost, may have given the key away."""
    marked, held = (motion_place(0, 1, phase) for phase in (MovePhase.MARKED, MovePhase.HELD))
    data = fleet.of(moving_document(marked, 4), 3)
    for highest, place in ((3, marked), (4, held), (0, held)):
        accepted = judge_of(fleet).judge(data, highest=highest, is_copy=True)
        assert CellTable(accepted.snapshot.table).find(7) == place
        assert (accepted.table_version, accepted.has_moves) == (4, True)
    still = judge_of(fleet).judge(fleet.of(moving_document(1, 5), 4))
    assert (still.table_version, still.has_moves) == (5, False)


def test_signature_comes_before_content(fleet, tmp_path):
    stranger = Fleet(tmp_path)
    judge = judge_of(fleet)
    assert refusal_of(judge, stranger.of(Document(), 1)) is SnapshotRefusal.UNKNOWN_KEY
    good = fleet.of(document_of(7), 3)
    forged = good.replace(b'"revision":3', b'"revision":9')
    assert refusal_of(judge, forged) is SnapshotRefusal.SIGNATURE
    assert refusal_of(judge, good[:-1]) is SnapshotRefusal.TRUNCATED
    assert refusal_of(judge, bytes(2 << 20)) is SnapshotRefusal.TOO_LARGE


def test_the_past_does_not_come_back(fleet):
    judge = judge_of(fleet)
    old, new, other = (fleet.of(document_of(n), r) for n, r in ((7, 3), (8, 4), (9, 4)))
    in_force = judge.judge(new, highest=3)
    assert refusal_of(judge, old, highest=4, in_force=in_force) is SnapshotRefusal.REPLAYED
    assert refusal_of(judge, other, highest=4, in_force=in_force) is SnapshotRefusal.REPLAYED
    assert judge.judge(new, highest=4, in_force=in_force).digest == in_force.digest
    assert judge.judge(fleet.of(document_of(7), 5), highest=4, in_force=in_force).revision == 5


def test_what_says_nothing_is_empty(fleet):
    judge = judge_of(fleet)
    assert refusal_of(judge, fleet.of(Document(), 1)) is SnapshotRefusal.EMPTY
    placed = replace(
        Document().proxy, zone="a", zones_away=("b",), zones_away_until_s=(2_000_000_000,)
    )
    nothing = replace(Document(), proxy=placed)
    assert refusal_of(judge, fleet.of(nothing, 1)) is SnapshotRefusal.EMPTY, "where is not what"
    homeless = judge_of(fleet, local=Document())
    data = fleet.of(document_of(7, upstream=""), 1)
    assert refusal_of(homeless, data) is SnapshotRefusal.EMPTY
    assert judge_of(fleet, local=Document(), needs_upstream=False).judge(data)


def test_what_no_worker_could_run_is_invalid(fleet):
    document = document_of(7)
    proxy = replace(document.proxy, upstreams=(replace(document.proxy.upstreams[0], urls=("x",)),))
    cell = document.policy.cells[0]
    upside_down = replace(cell, limit=replace(cell.limit, algorithm="magic"))
    for bad in (
        replace(document, proxy=proxy),
        replace(document, policy=replace(document.policy, cells=(upside_down,))),
        replace(document, classification=replace(document.classification, trusted_peers=("x",))),
    ):
        assert refusal_of(judge_of(fleet), fleet.of(bad, 1)) is SnapshotRefusal.INVALID


def test_what_would_have_refused_much_is_implausible_unless_it_is_forced(fleet):
    judge = judge_of(fleet, minutes=BUSY)
    data = fleet.of(document_of(2), 1)
    assert refusal_of(judge, data) is SnapshotRefusal.IMPLAUSIBLE
    accepted = judge.judge(fleet.of(document_of(2), 1, is_forced=True))
    assert judge.judge(data, is_copy=True), "a copy of one's own was in force"
    forced = fleet.of(document_of(2), 1, is_forced=True)
    assert judge.judge(forced, in_force=accepted, highest=1)
    assert judge.judge(fleet.of(document_of(9), 1)), "a tenth is allowed"


def test_force_overrides_nothing_else(fleet, tmp_path):
    judge = judge_of(fleet, minutes=BUSY)
    stranger = Fleet(tmp_path)
    forced = {"is_forced": True}
    for data, refusal in (
        (stranger.of(document_of(7), 1, **forced), SnapshotRefusal.UNKNOWN_KEY),
        (fleet.of(Document(), 9, **forced), SnapshotRefusal.EMPTY),
        (fleet.of(document_of(7), 1, **forced), SnapshotRefusal.REPLAYED),
        (fleet.of(document_of(7), 9, **forced)[:-1], SnapshotRefusal.TRUNCATED),
        (fleet.of(document_of(7), 9, table=b"x", **forced), SnapshotRefusal.INVALID),
    ):
        assert refusal_of(judge, data, highest=5) is refusal


def test_the_host_keeps_its_certificate_and_upstreams_that_nobody_names():
    local = replace(LOCAL, proxy=replace(LOCAL.proxy, tls=TlsDocument(cert="c", key="k")))
    here = document_here(Snapshot(revision=1, document=document_of(7)), local)
    assert here.proxy.tls == local.proxy.tls
    assert here.proxy.upstreams == document_of(7).proxy.upstreams
    homeless = document_of(7, upstream="")
    cells = (*homeless.policy.cells, replace(homeless.policy.cells[0], name="b"))
    two = replace(homeless, policy=replace(homeless.policy, cells=cells))
    here = document_here(Snapshot(revision=1, document=two), local)
    urls = {each.cell: each.urls for each in here.proxy.upstreams}
    assert urls == dict.fromkeys(("default", "b"), ("http://127.0.0.1:8000",))


def keyed():
    document = document_of(7, **{"cells.key": "header:x-tenant", "cells.secret": "s"})
    return snapshot_of(document, revision=1)


def test_a_table_of_cells_comes_apart_from_the_document():
    snapshot = keyed()
    assert len(snapshot.table) > 4 * BUCKETS
    assert snapshot.document.classification.cells.buckets == ()
    here = document_here(snapshot, LOCAL)
    routing = here.classification.cells
    assert routing.cells == ("default",)
    assert routing.buckets == ((0, BUCKETS),)


@pytest.mark.parametrize(
    "table",
    [
        b"no table",
        build_cell_table(["default"], [0] * BUCKETS, {}, secret_id=secret_id("another")),
        build_cell_table(["elsewhere"], [0] * BUCKETS, {}, secret_id=secret_id("s")),
        build_cell_table(["default"], [0] * BUCKETS, {}, secret_id=secret_id("s"))[:-1],
        build_cell_table(["default"], [0] * BUCKETS, {}, secret_id=secret_id("s"))[:8],
    ],
    ids=["none", "another secret", "another cell", "cut", "head"],
)
def test_a_table_that_does_not_fit_is_refused(fleet, table):
    snapshot = keyed()
    data = fleet.sign(replace(snapshot, table=table))
    assert refusal_of(judge_of(fleet), data) is SnapshotRefusal.INVALID


def test_a_table_without_a_key_is_refused(fleet):
    snapshot = keyed()
    data = fleet.of(document_of(7), 1, table=snapshot.table)
    assert refusal_of(judge_of(fleet), data) is SnapshotRefusal.INVALID
