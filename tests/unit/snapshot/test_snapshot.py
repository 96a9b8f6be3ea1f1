"""A snapshot keeps what a newer version put in, through reading and writing."""

from __future__ import annotations

from dataclasses import replace

from shedproxy.core import Mode
from shedproxy.snapshot import Document, Snapshot, to_plain

NEWER = {**to_plain(Document()), "weather": {"wind": 3}}
NEWER["policy"] = {**NEWER["policy"], "temper": "mild"}


def test_a_snapshot_of_this_version_has_nothing_unknown():
    snapshot = Snapshot(revision=1, document=Document())
    assert snapshot.unknown == ()
    assert snapshot.plain_document == to_plain(Document())


def test_what_is_unknown_is_named():
    snapshot = Snapshot(
        revision=1,
        document=Document(),
        body=NEWER,
        extra={"moon": "full"},
        others=(("tides", b"..."),),
    )
    assert snapshot.unknown == (
        "moon",
        "document.policy.temper",
        "document.weather",
        "part tides",
    )


def test_a_change_keeps_the_unknown_in_the_document():
    snapshot = Snapshot(revision=1, document=Document(), body=NEWER)
    document = snapshot.document
    changed = replace(
        snapshot, document=replace(document, policy=replace(document.policy, mode=Mode.OBSERVE))
    )
    plain = changed.plain_document
    assert plain["policy"]["mode"] == "observe"
    assert plain["policy"]["temper"] == "mild"
    assert plain["weather"] == {"wind": 3}
