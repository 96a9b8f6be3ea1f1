"""The bytes of a snapshot: round trips over schemas, fixed sizes, and everything else refused."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import time
import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shedproxy.core import Mode
from shedproxy.snapshot import (
    SIZE_CLASSES,
    SNAPSHOT_SCHEMA,
    Document,
    Snapshot,
    SnapshotRefusal,
    SnapshotRefusedError,
    UpstreamDocument,
    encode_snapshot,
    open_envelope,
    read_snapshot,
    to_plain,
)
from shedproxy.snapshot.envelope import REVISION_MAX

DOCUMENT = Document()
DOCUMENT = replace(
    DOCUMENT,
    proxy=replace(DOCUMENT.proxy, upstreams=(UpstreamDocument(urls=("http://127.0.0.1:8000",)),)),
)
SNAPSHOT = Snapshot(revision=7, document=DOCUMENT, table=b"table", issued_at_s=5, expires_at_s=9)


def sign(data: bytes) -> tuple[str, bytes]:
    return "key", b"signature"


def read(data: bytes, **bounds: int) -> Snapshot:
    return read_snapshot(open_envelope(data, **bounds))


def same(one: Snapshot, other: Snapshot) -> bool:
    return replace(one, body={}) == replace(other, body={})


def rewritten(data: bytes, **fields: object) -> bytes:
    """With other fields in its manifest: what another version, or somebody else, would write."""
    line, _, rest = data.partition(b"\n")
    manifest = {**json.loads(line), **fields}
    manifest = {name: value for name, value in manifest.items() if value is not None}
    changed = json.dumps(manifest, separators=(",", ":")).encode() + b"\n" + rest
    size = manifest.get("size", len(data))
    return changed[:size].ljust(size, b"\0") if isinstance(size, int) and size < 1e8 else changed


def with_document(text: bytes) -> bytes:
    """A whole snapshot around any text for a document."""
    part = {"name": "document", "size": len(text), "sha256": hashlib.sha256(text).hexdigest()}
    size = next(size for size in SIZE_CLASSES if size > len(text) + 4096)
    manifest = {
        "format": "shedproxy-snapshot",
        "schema": SNAPSHOT_SCHEMA,
        "revision": 1,
        "size": size,
        "parts": [part],
    }
    head = json.dumps(manifest, separators=(",", ":")).encode() + b'\n{"signatures":[]}\n'
    return (head + text).ljust(size, b"\0")


def refusal_of(data: bytes, **bounds: int) -> SnapshotRefusal:
    with pytest.raises(SnapshotRefusedError) as caught:
        read(data, **bounds)
    return caught.value.refusal


def test_what_is_written_is_read():
    data = encode_snapshot(SNAPSHOT, [sign])
    envelope = open_envelope(data)
    assert envelope.signatures == (("key", b"signature"),)
    assert envelope.size == len(data) == SIZE_CLASSES[0]
    assert same(read_snapshot(envelope), SNAPSHOT)


def test_the_digest_is_that_of_what_is_signed():
    one, other = (open_envelope(encode_snapshot(SNAPSHOT, keys)) for keys in ([], [sign, sign]))
    assert one.digest == other.digest
    assert one.signed == other.signed
    changed = open_envelope(encode_snapshot(replace(SNAPSHOT, table=b"tablf"), [sign]))
    assert changed.digest != one.digest


@pytest.mark.parametrize("schema", [SNAPSHOT_SCHEMA - 1, SNAPSHOT_SCHEMA, SNAPSHOT_SCHEMA + 1])
def test_one_schema_less_and_one_more_are_read(schema):
    data = rewritten(encode_snapshot(SNAPSHOT, [sign]), schema=schema)
    snapshot = read(data)
    assert same(snapshot, replace(SNAPSHOT, schema=schema))
    again = read(encode_snapshot(snapshot, [sign]))
    assert again.schema == max(SNAPSHOT_SCHEMA, schema)


def test_fields_of_an_older_version_that_are_not_there_have_their_defaults():
    plain = to_plain(DOCUMENT)
    for name in ("reject", "profiles", "cells"):
        del plain[name]
    assert read(with_document(json.dumps(plain).encode())).document == DOCUMENT


def test_what_a_newer_version_put_in_is_kept_at_every_level():
    plain = {**to_plain(DOCUMENT), "schema": 2, "weather": 1}
    plain["policy"]["cells"][0]["temper"] = "mild"
    data = rewritten(with_document(json.dumps(plain).encode()), schema=2, moon=[1, {"a": 2}])
    snapshot = read(data)
    assert snapshot.unknown == ("moon", "document.policy.cells.0.temper", "document.weather")
    snapshot = replace(snapshot, revision=8, others=(("tides", b"high"),))
    policy = replace(snapshot.document.policy, mode=Mode.OFF)
    changed = replace(snapshot, document=replace(snapshot.document, policy=policy))
    again = read(encode_snapshot(changed, [sign]))
    assert again.revision == 8
    assert again.document.policy.mode is Mode.OFF
    assert again.extra == {"moon": [1, {"a": 2}]}
    assert again.others == (("tides", b"high"),)
    assert again.body["weather"] == 1
    assert again.body["policy"]["cells"][0]["temper"] == "mild"


def test_the_size_is_a_class_and_does_not_depend_on_the_contents():
    sizes = {
        len(encode_snapshot(replace(SNAPSHOT, table=bytes(n)), size=SIZE_CLASSES[1]))
        for n in (0, 1, 500_000)
    }
    assert sizes == {SIZE_CLASSES[1]}
    assert len(encode_snapshot(replace(SNAPSHOT, table=bytes(300_000)))) == SIZE_CLASSES[1]


def test_what_does_not_fit_is_refused_by_its_writer():
    with pytest.raises(SnapshotRefusedError, match="takes") as caught:
        encode_snapshot(replace(SNAPSHOT, table=bytes(SIZE_CLASSES[0])), size=SIZE_CLASSES[0])
    assert caught.value.refusal is SnapshotRefusal.TOO_LARGE
    with pytest.raises(ValueError, match="not one of"):
        encode_snapshot(SNAPSHOT, size=1000)
    for revision in (0, REVISION_MAX + 1):
        with pytest.raises(SnapshotRefusedError, match="revision"):
            encode_snapshot(replace(SNAPSHOT, revision=revision))


GOOD = encode_snapshot(SNAPSHOT, [sign])
HEAD = GOOD.index(b"\n") + 1
BODY = GOOD.index(b"\n", HEAD) + 1


@pytest.mark.parametrize("length", [0, 1, 20, HEAD - 1, HEAD + 5, BODY, BODY + 9, len(GOOD) - 1])
def test_one_that_is_cut_is_truncated(length):
    assert refusal_of(GOOD[:length]) is SnapshotRefusal.TRUNCATED


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"<html>not found</html>", SnapshotRefusal.INVALID),
        (bytes(1000), SnapshotRefusal.INVALID),
        (GOOD + b"x", SnapshotRefusal.INVALID),
        (GOOD[:-1] + b"x", SnapshotRefusal.INVALID),
        (GOOD.replace(b'"mode"', b'"mood"'), SnapshotRefusal.INVALID),
        (b'{"format":"shedproxy-snapshot"' + b" " * 300_000, SnapshotRefusal.INVALID),
        (rewritten(GOOD, schema=3), SnapshotRefusal.NEWER_SCHEMA),
        (rewritten(GOOD, schema=None), SnapshotRefusal.INVALID),
        (rewritten(GOOD, schema=True), SnapshotRefusal.INVALID),
        (rewritten(GOOD, revision=None), SnapshotRefusal.INVALID),
        (rewritten(GOOD, revision=0), SnapshotRefusal.INVALID),
        (rewritten(GOOD, revision=1 << 60), SnapshotRefusal.INVALID),
        (rewritten(GOOD, revision=1.5), SnapshotRefusal.INVALID),
        (rewritten(GOOD, force="yes"), SnapshotRefusal.INVALID),
        (rewritten(GOOD, issued_at_s=-1), SnapshotRefusal.INVALID),
        (rewritten(GOOD, size=1 << 30), SnapshotRefusal.TOO_LARGE),
        (rewritten(GOOD, parts=None), SnapshotRefusal.INVALID),
        (rewritten(GOOD, parts=[{}] * 17), SnapshotRefusal.INVALID),
        (rewritten(GOOD, parts=[]), SnapshotRefusal.INVALID),
        (with_document(b""), SnapshotRefusal.EMPTY),
        (with_document(b"[]"), SnapshotRefusal.INVALID),
        (with_document(b'{"policy":{"cells":[]}}'), SnapshotRefusal.INVALID),
        (with_document(b'{"schema":9}'), SnapshotRefusal.INVALID),
        (with_document(b'{"policy":{"cells":[{"resident_limit":%d}]}}' % 10**30),
         SnapshotRefusal.INVALID),
        (with_document(b'{"proxy":{"access_log_share":1e999}}'), SnapshotRefusal.INVALID),
    ],
)  # fmt: skip
def test_everything_else_is_refused_with_its_reason(data, refusal):
    assert refusal_of(data) is refusal


def test_a_snapshot_without_parts_is_empty():
    head = {"format": "shedproxy-snapshot", "schema": 1, "revision": 1, "size": 1000, "parts": []}
    data = json.dumps(head, separators=(",", ":")).encode() + b'\n{"signatures":[]}\n'
    assert refusal_of(data.ljust(1000, b"\0")) is SnapshotRefusal.EMPTY


def test_too_many_bytes_are_refused_before_they_are_looked_at():
    assert refusal_of(bytes(SIZE_CLASSES[0] + 1), size_max=SIZE_CLASSES[0]) is (
        SnapshotRefusal.TOO_LARGE
    )


def test_problems_of_the_document_say_where():
    with pytest.raises(SnapshotRefusedError) as caught:
        read(with_document(b'{"policy":{"mode":"sometimes","cells":[{"name":4}]}}'))
    places = {problem.path for problem in caught.value.problems}
    assert places == {("document", "policy", "mode"), ("document", "policy", "cells", "0", "name")}


HOSTILE = {
    "deep lists": b"[" * 1_000_000 + b"]" * 1_000_000,
    "deep objects": b'{"policy":' * 300_000 + b"1" + b"}" * 300_000,
    "digits": b'{"revision":' + b"9" * 3_000_000 + b"}",
    "a million rules": b'{"classification":{"rules":[' + b",".join([b"{}"] * 1_000_000) + b"]}}",
    "a million cells": b'{"policy":{"cells":[' + b",".join([b"{}"] * 190_000) + b"]}}",
    "wrong everywhere": b'{"classification":{"rules":[' + b",".join([b"1"] * 190_000) + b"]}}",
    "one long text": b'{"proxy":{"via":"' + b"a" * 4_000_000 + b'"}}',
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_document_costs_bounded_time_and_memory(text):
    data = with_document(text)
    tracemalloc.start()
    began = time.thread_time()
    with contextlib.suppress(SnapshotRefusedError):
        read(data)
    took = time.thread_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 10  # with every allocation traced
    assert peak < 200_000_000


@settings(max_examples=200)
@given(st.data())
def test_no_damage_is_taken_for_another_snapshot(data):
    """Anything that differs in a byte is refused, or is what it was with another signature."""
    at = data.draw(st.integers(0, BODY + 3000))
    damaged = bytearray(GOOD)
    damaged[at] ^= data.draw(st.integers(1, 255))
    try:
        envelope = open_envelope(bytes(damaged))
        snapshot = read_snapshot(envelope)
    except SnapshotRefusedError:
        return
    is_same = same(snapshot, SNAPSHOT)
    assert is_same or envelope.signed != open_envelope(GOOD).signed


def test_noise_is_refused_and_never_crashes():
    chance = random.Random(20)
    for _ in range(2000):
        data = bytearray(GOOD[: BODY + 200])
        for _ in range(chance.randrange(1, 20)):
            at = chance.randrange(len(data))
            data[at : at + chance.randrange(3)] = chance.randbytes(chance.randrange(4))
        with pytest.raises(SnapshotRefusedError):
            read(bytes(data))
