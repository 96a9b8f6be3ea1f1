"""Which snapshot a host gets, and when another one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from harness.snapshots import document_of

from shedproxy.controlplane.fleet import Cell, Fleet, Held, Host, Release, Shift
from shedproxy.controlplane.move import MoveBook, MoveStep, abort, begin
from shedproxy.controlplane.releases import (
    RELEASE_SIZE_MAX,
    build_edition,
    decode_release,
    encode_release,
    release_digest,
    renew,
    settings_cell,
)
from shedproxy.controlplane.rollout import Book
from shedproxy.core import BUCKETS, CellTable, motion_place
from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import CellRouting, open_envelope, read_snapshot

OLD = Release(digest="old", at_s=1, by="ann")
FLEET = Fleet(
    hosts=(
        Host(name="a1", cell="a", zone="p"),
        Host(name="a2", cell="a", zone="p"),
        Host(name="b1", cell="b", zone="q"),
    ),
    releases=(OLD,),
    book=Book(base="old"),
)


def sign(data: bytes) -> tuple[str, bytes]:
    return "key", b"signature"


def make(request) -> bytes:
    document = document_of(7)
    cells = CellRouting(key="host", default="a", cells=("a",), buckets=((0, BUCKETS),))
    classification = replace(document.classification, cells=cells)
    return build_edition(replace(document, classification=classification), request, sign)


def renewed(fleet: Fleet, revision: int, now_s: int = 1000, texts=("",)):
    return renew(fleet, revision=revision, now_s=now_s, texts=lambda _digest: texts, make=make)


def test_a_release_comes_back_from_its_bytes_and_is_known_by_them():
    data = encode_release({"b": "two", "": "one"})
    assert data == encode_release({"": "one", "b": "two"})
    assert decode_release(data, release_digest(data)) == {"": "one", "b": "two"}
    with pytest.raises(DocumentInvalidError, match="damaged"):
        decode_release(data + b" ", release_digest(data))
    with pytest.raises(DocumentInvalidError, match="for all cells"):
        encode_release({"b": "two"})
    with pytest.raises(DocumentInvalidError, match="too long"):
        encode_release({"": "x" * RELEASE_SIZE_MAX})


def test_a_cell_has_its_own_settings_or_those_of_the_cell_it_was_cloned_from_or_the_common_ones():
    cells = (Cell(name="c", like="b"), Cell(name="d", like="c"), Cell(name="e", like="e"))
    fleet = replace(FLEET, cells=cells)
    found = {name: settings_cell(("", "b"), fleet, name) for name in "abcdez"}
    assert found == {"a": "", "b": "b", "c": "b", "d": "b", "e": "", "z": ""}


def test_hosts_in_common_share_one_snapshot_that_says_their_zone():
    fleet, objects = renewed(FLEET, 5)
    first, second, third = fleet.editions
    assert first.object_name == second.object_name != third.object_name
    assert objects.keys() == {first.object_name, third.object_name}
    for edition, zone in ((first, "p"), (third, "q")):
        envelope = open_envelope(objects[edition.object_name])
        assert envelope.digest == edition.digest
        snapshot = read_snapshot(envelope)
        assert (snapshot.revision, snapshot.issued_at_s) == (5, 1000)
        assert snapshot.document.proxy.zone == zone


def test_nobody_gets_another_snapshot_while_nothing_is_another():
    fleet, _ = renewed(FLEET, 5)
    assert renewed(fleet, 6, 2000) == (fleet, {})


def test_who_goes_back_gets_the_former_content_under_a_higher_revision():
    new = Release(digest="new", at_s=2, by="ann", is_forced=True)
    fleet, _ = renewed(replace(FLEET, releases=(OLD, new)), 5)
    fleet, objects = renewed(replace(fleet, book=Book(base="new")), 6)
    assert {each.release for each in fleet.editions} == {"new"}
    assert all(read_snapshot(open_envelope(data)).is_forced for data in objects.values())
    fleet, objects = renewed(replace(fleet, book=Book(base="old")), 7)
    assert {each.revision for each in fleet.editions} == {7}
    assert not any(read_snapshot(open_envelope(data)).is_forced for data in objects.values())


def test_a_shift_is_in_every_snapshot_and_is_gone_when_its_time_is_up():
    fleet, objects = renewed(replace(FLEET, shifts=(Shift(zone="q", until_s=1060),)), 5)
    for data in objects.values():
        proxy = read_snapshot(open_envelope(data)).document.proxy
        assert (proxy.zones_away, proxy.zones_away_until_s) == (("q",), (1060,))
    fleet, objects = renewed(fleet, 6, 1060)
    assert all(
        read_snapshot(open_envelope(data)).document.proxy.zones_away == ()
        for data in objects.values()
    )


def test_where_keys_are_is_in_every_snapshot_whichever_release_it_is_of():
    new = Release(digest="new", at_s=2, by="ann")
    held = (Held(host="b1", release="new"),)
    unmoved, _ = renewed(replace(FLEET, releases=(OLD, new), held=held), 5)
    book = begin(MoveBook(), "00000000000000ff", owner="a", target="b", now_s=1.0)
    moving, objects = renewed(replace(unmoved, moves=book), 6)
    assert {each.revision for each in moving.editions} == {6}
    for data in objects.values():
        table = CellTable(read_snapshot(open_envelope(data)).table)
        assert (table.version, table.names) == (1, ("a", "b"))
        assert table.find(0xFF) == motion_place(0, 1, MoveStep.MARKED)
    assert renewed(moving, 7) == (moving, {})
    aborted, objects = renewed(replace(moving, moves=abort(book, "")), 8)
    assert {each.revision for each in aborted.editions} == {8}
    tables = [CellTable(read_snapshot(open_envelope(data)).table) for data in objects.values()]
    assert {(table.version, table.find(0xFF)) for table in tables} == {(2, 0)}


def test_who_is_to_run_a_release_that_is_forgotten_keeps_what_it_has():
    fleet, _ = renewed(FLEET, 5)
    gone = replace(fleet, releases=())
    assert renewed(gone, 6) == (gone, {})
    fresh = replace(gone, hosts=(*FLEET.hosts, Host(name="c1")))
    assert renewed(fresh, 6) == (fresh, {})
