"""JSON of unknown origin costs bounded time and memory, and has one meaning."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot.bounded_json import VALUES_MAX, load_json


def test_what_json_says_is_read():
    assert load_json(b'{"a":[1,2.5,"x",null,true]}') == {"a": [1, 2.5, "x", None, True]}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b'{"a":NaN}',
        b'{"a":1,"a":2}',
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"9" * 1_000_000,
    ],
    ids=["nothing", "cut", "no text", "nan", "twice", "deep lists", "deep objects", "digits"],
)
def test_what_is_not_is_refused(data):
    with pytest.raises(DocumentInvalidError):
        load_json(data)


@pytest.mark.parametrize("item", [b"{}", b"[]", b"1", b'""'])
def test_a_million_values_are_refused_before_they_are_built(item):
    data = b"[" + b",".join([item] * (VALUES_MAX + 1)) + b"]"
    tracemalloc.start()
    began = time.thread_time()
    with pytest.raises(DocumentInvalidError, match="more than"):
        load_json(data)
    took = time.thread_time() - began
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert took < 0.5
    assert peak < 1_000_000
