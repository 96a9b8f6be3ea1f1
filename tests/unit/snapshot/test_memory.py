"""What was learnt travels whole, is merged by weight, and never comes from a damaged copy."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shedproxy.core import Policy, Remembered, Shedder
from shedproxy.core.baseline import ROUTES_MAX as ROUTES_OF_CORE
from shedproxy.errors import DocumentInvalidError
from shedproxy.snapshot import (
    ROUTES_MAX,
    STATE_SIZE_MAX,
    State,
    decode_state,
    encode_state,
    merge_memories,
    plain_memory,
    read_memory,
)

KNOWN = Remembered(mean_ns=5_000_000, sample_count=40, variance=1.5e12)
MEMORY = {"default": {"default": KNOWN, "search": Remembered(9, 1, 0.0)}, "slow": {"a b": KNOWN}}

remembered = st.builds(
    Remembered,
    mean_ns=st.integers(1, 1 << 53),
    sample_count=st.integers(1, 1 << 53),
    variance=st.floats(0, 1e30),
)
memories = st.dictionaries(
    st.sampled_from(["default", "slow"]),
    st.dictionaries(st.text(max_size=128), remembered, min_size=1, max_size=4),
)


def of_one(mean_ns: int, count: int, variance: float = 0.0) -> dict:
    return {"default": {"r": Remembered(mean_ns, count, variance)}}


# --- codec --------------------------------------------------------------------------------------


@given(memories)
def test_what_is_read_is_what_was_learnt(memory):
    text = json.dumps(plain_memory(memory))
    assert read_memory(json.loads(text)) == memory
    assert json.dumps(plain_memory(read_memory(json.loads(text)))) == text


def test_a_baseline_is_named_numbers():
    assert plain_memory({"default": {"r": KNOWN}}) == {
        "default": {"r": {"mean_ns": 5_000_000, "sample_count": 40, "variance": 1.5e12}}
    }


@pytest.mark.parametrize(
    "routes",
    [
        {},
        {"r": Remembered(0, 5, 1.0)},
        {"r": Remembered(5, 0, 1.0)},
        {"r" * 129: KNOWN},
    ],
    ids=["empty", "no-latency", "no-sample", "long-name"],
)
def test_what_is_of_no_use_is_left_out(routes):
    assert plain_memory({"default": routes, "slow": {"r": KNOWN}}) == plain_memory(
        {"slow": {"r": KNOWN}}
    )


def test_a_variance_rounded_below_zero_is_zero():
    assert plain_memory(of_one(5, 5, -1e-9))["default"]["r"]["variance"] == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"mean_ns": 0},
        {"mean_ns": -1},
        {"mean_ns": 1.5},
        {"mean_ns": True},
        {"mean_ns": None},
        {"mean_ns": 10**400},
        {"sample_count": 0},
        {"sample_count": "40"},
        {"sample_count": 10**400},
        {"variance": -1.0},
        {"variance": float("nan")},
        {"variance": float("inf")},
        {"variance": 10**400},
        {"variance": None},
    ],
    ids=str,
)
def test_a_number_beyond_reason_is_damage(change):
    """The core would raise on it later, on the path of a request."""
    plain = {"default": {"r": {**KNOWN._asdict(), **change}}}
    with pytest.raises(DocumentInvalidError, match=r"default\.r is no baseline"):
        read_memory(plain)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        "cells",
        {"default": []},
        {"default": {"r": 5}},
        {"default": {"r" * 129: KNOWN._asdict()}},
        {"default": {f"r{number}": KNOWN._asdict() for number in range(ROUTES_MAX + 1)}},
    ],
    ids=["null", "list", "text", "routes", "baseline", "long-name", "too-many"],
)
def test_another_form_is_damage(value):
    with pytest.raises(DocumentInvalidError, match="damaged"):
        read_memory(value)


def test_fields_of_a_later_version_are_ignored():
    plain = {"default": {"r": {**KNOWN._asdict(), "median_ns": 4}}}
    assert read_memory(plain) == {"default": {"r": KNOWN}}


def test_a_cell_of_the_core_fits():
    """The most that a cell learns is the most that is read, and one message."""
    assert ROUTES_MAX == ROUTES_OF_CORE
    longest = {f"{number:03}" + "\U0001f600" * 125: KNOWN for number in range(ROUTES_MAX)}
    text = json.dumps(plain_memory({"default": longest}))
    assert read_memory(json.loads(text)) == {"default": longest}
    assert len(text) < 1024 * 1024 // 2
    assert len(text) * 64 < STATE_SIZE_MAX


def test_the_core_remembers_what_was_read():
    shedder = Shedder(Policy(), now=0)
    shedder.remember(read_memory(plain_memory(MEMORY)))
    assert shedder.memory() == {"default": MEMORY["default"]}
    assert shedder.stats().cells[0].baseline_ns == KNOWN.mean_ns


# --- merge --------------------------------------------------------------------------------------


def test_means_are_weighted_by_their_samples():
    merged = merge_memories([of_one(10, 30), of_one(20, 10)])
    known = merged["default"]["r"]
    assert known.mean_ns == 12
    assert known.variance == pytest.approx(30 / 40 * 10 / 40 * 10 * 10)


def test_the_variance_is_that_of_all_samples_together():
    samples = [[3, 5, 9, 7], [20, 28]]

    def summed(values):
        mean = sum(values) / len(values)
        return Remembered(
            round(mean), len(values), sum((value - mean) ** 2 for value in values) / len(values)
        )

    merged = merge_memories({"default": {"r": summed(values)}} for values in samples)
    assert merged["default"]["r"].mean_ns == 12
    assert merged["default"]["r"].variance == pytest.approx(summed([*samples[0], *samples[1]])[2])


@given(memories, st.integers(1, 5))
def test_workers_that_were_told_the_same_know_no_more_than_one(memory, workers):
    """Else the count would grow with every restart."""
    assert merge_memories([memory] * workers) == memory


@given(st.lists(memories, max_size=4))
def test_a_merged_baseline_lies_among_those_it_is_made_of(several):
    for cell, routes in merge_memories(several).items():
        for route, known in routes.items():
            parts = [memory[cell][route] for memory in several if route in memory.get(cell, {})]
            means = [part.mean_ns for part in parts]
            assert min(means) - 1 <= known.mean_ns <= max(means) + 1
            assert known.sample_count == max(part.sample_count for part in parts)


def test_routes_and_cells_that_one_worker_knows_are_known():
    merged = merge_memories([{"a": {"x": KNOWN}}, {"a": {"y": KNOWN}, "b": {"x": KNOWN}}, {}])
    assert merged == {"a": {"x": KNOWN, "y": KNOWN}, "b": {"x": KNOWN}}


def test_of_too_many_routes_the_most_measured_stay():
    known = {f"r{count}": Remembered(5, count, 0.0) for count in range(1, ROUTES_MAX + 11)}
    halves = ({route: known[route]} for route in known)
    merged = merge_memories({"default": half} for half in halves)["default"]
    assert len(merged) == ROUTES_MAX
    assert min(part.sample_count for part in merged.values()) == 11


# --- state --------------------------------------------------------------------------------------


def test_a_state_travels_whole_as_one_object():
    state = State(memory=MEMORY, written_at=1_700_000_000.25, version="0.1.0")
    data = encode_state(state)
    assert decode_state(data) == state
    assert data.isascii()
    assert data.endswith(b"}\n")
    assert data.count(b"\n") == 1
    assert list(json.loads(data)) == ["format", "schema", "version", "written_at", "cells"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "no state of shedproxy"),
        (b"{", "no state of shedproxy"),
        (b"\xff\xfe", "no state of shedproxy"),
        (b"[" * 100_000, "no state of shedproxy"),
        (b"[1]", "no state of shedproxy"),
        (b'mode = "observe"\n', "no state of shedproxy"),
        (b'{"format": "shedproxy-document"}', "no state of shedproxy"),
    ],
    ids=["empty", "cut", "bytes", "deep", "list", "toml", "other-format"],
)
def test_what_is_no_state_is_said_to_be_none(data, told):
    with pytest.raises(DocumentInvalidError, match=told):
        decode_state(data)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"schema": 2}, r"schema 2 is newer than this version understands \(1\)"),
        ({"schema": None}, "names no schema"),
        ({"schema": 0}, "names no schema"),
        ({"written_at": None}, "no date"),
        ({"written_at": -1}, "no date"),
        ({"version": 3}, "no version"),
        ({"cells": None}, "cells is no object"),
        ({"cells": {"default": {"r": {}}}}, r"default\.r is no baseline"),
    ],
    ids=str,
)
def test_a_damaged_or_newer_state_is_refused_whole(change, told):
    data = encode_state(State(memory=MEMORY, written_at=1.0, version="0.1.0"))
    with pytest.raises(DocumentInvalidError, match=told):
        decode_state(json.dumps({**json.loads(data), **change}).encode())


def test_envelope_fields_of_a_later_version_are_ignored():
    data = encode_state(State(memory=MEMORY, written_at=1.0, version="0.1.0"))
    later = json.dumps({**json.loads(data), "host": "a"}).encode()
    assert decode_state(later) == decode_state(data)
