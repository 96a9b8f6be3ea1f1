"""Keys and their table in a document: one hash, one spelling, one table."""

from __future__ import annotations

import pytest

from shedproxy.core import BUCKETS, CellTable
from shedproxy.snapshot import (
    CellRouting,
    Classification,
    Document,
    canonical_key,
    cell_hash,
    cell_table_of,
    decode_document,
    encode_document,
    run_lengths,
    secret_id,
    split_cell_key,
    written_key,
)

ROUTING = CellRouting(
    key="host",
    secret="s",
    default="b",
    version=3,
    cells=("a", "b"),
    buckets=((0, BUCKETS // 2), (1, BUCKETS // 2)),
    pins=((f"{cell_hash('s')(b'big'):016x}", 1),),
)


def test_the_hash_depends_on_the_secret_and_is_never_nobody():
    assert cell_hash("s")(b"a") == cell_hash("s")(b"a") != cell_hash("t")(b"a")
    assert all(0 < cell_hash("s")(bytes([n])) < 1 << 64 for n in range(256))


def test_the_hash_of_a_key_is_the_same_in_every_version():
    assert cell_hash("secret")(b"tenant") == 0xFD30A3204DB755C7


def test_tables_for_another_secret_can_be_told_apart():
    assert secret_id("s") != secret_id("t")


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("header:X-Tenant", ("header", "x-tenant")),
        ("api-key:authorization", ("api-key", "authorization")),
        ("path:16", ("path", "16")),
        ("host", ("host", "")),
        ("@client", ("@client", "")),
    ],
)
def test_a_key_has_a_kind_and_a_name(key, parts):
    assert split_cell_key(key) == parts


@pytest.mark.parametrize(
    "key", ["", "header", "header:", "header:a b", "path:0", "path:17", "path:x", "host:", "cookie"]
)
def test_what_is_no_key_is_refused(key):
    with pytest.raises(ValueError, match="expected"):
        split_cell_key(key)


def test_case_counts_in_credentials_only():
    assert canonical_key("header", b" ACME ") == canonical_key("host", b"acme") == b"acme"
    assert canonical_key("path", "\u00c4b".encode()) == "\u00e4b".encode()
    assert canonical_key("api-key", b" Bearer X ") == b"Bearer X"


@pytest.mark.parametrize(
    ("kind", "text", "key"),
    [
        ("header", " ACME ", b"acme"),
        ("api-key", " Sesame ", b"Sesame"),
        ("host", "Big.example.:8443", b"big.example"),
        ("@client", "192.0.2.7", b"\0\xc0\0\2\7"),
        ("@client", "::ffff:192.0.2.7", b"\0\xc0\0\2\7"),
        ("@client", "2001:db8::7", b"\0 \1\r\xb8\0\0\0\0"),
    ],
)
def test_a_key_that_people_write_is_hashed_as_that_of_requests(kind, text, key):
    assert written_key(kind, text) == key


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [("@client", "acme", "is no address"), ("host", ":80", "empty"), ("header", " ", "empty")],
)
def test_what_no_request_can_have_is_no_key(kind, text, why):
    with pytest.raises(ValueError, match=why):
        written_key(kind, text)


def test_the_parts_make_the_table():
    table = CellTable(cell_table_of(ROUTING))
    assert (table.names, table.default, table.version) == (("a", "b"), 1, 3)
    assert table.secret_id == secret_id("s")
    assert table.buckets() == [0] * (BUCKETS // 2) + [1] * (BUCKETS // 2)
    assert table.find(cell_hash("s")(b"big")) == 1


@pytest.mark.parametrize("buckets", [(), ((0, BUCKETS + 1),), ((2, BUCKETS),), ((0, 1 << 60),)])
def test_parts_that_do_not_fit_make_no_table(buckets):
    with pytest.raises(ValueError, match=r"bucket|no cell"):
        cell_table_of(CellRouting(key="host", default="a", cells=("a", "b"), buckets=buckets))


def test_a_default_that_is_no_cell_makes_no_table():
    with pytest.raises(ValueError, match="cell x is not"):
        cell_table_of(CellRouting(key="host", default="x", cells=("a",), buckets=((0, BUCKETS),)))


def test_equal_neighbours_are_told_by_their_number():
    assert run_lengths([1, 1, 0, 1]) == ((1, 2), (0, 1), (1, 1))
    assert run_lengths([]) == ()


def test_it_travels_in_the_document():
    document = Document(classification=Classification(cells=ROUTING))
    assert decode_document(encode_document(document)).classification.cells == ROUTING
