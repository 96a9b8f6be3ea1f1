"""A generator process plays what it is told, and ends with whoever told it."""

from __future__ import annotations

import subprocess
import sys

from shedproxy.clock import monotonic_now
from shedproxy.core import seconds
from shedproxy.loadgen.crew import LENGTH, READY
from shedproxy.loadgen.program import Program, decode_performance, encode_program


def started() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "shedproxy.loadgen.generator"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def said(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.read(LENGTH.unpack(process.stdout.read(LENGTH.size))[0])


def tell(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(LENGTH.pack(len(data)) + data)
    process.stdin.flush()


def test_it_is_ready_plays_and_ends_with_its_input() -> None:
    nothing_there = Program(
        url="http://127.0.0.1:1",
        messages={0: b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"},
        deadline_ns=seconds(0.2),
        length_ns=seconds(0.05),
        schedule=[(seconds(0.01), 0)],
    )
    process = started()
    tell(process, encode_program(nothing_there))
    assert said(process) == READY
    begin_at = monotonic_now()
    tell(process, LENGTH.pack(begin_at))
    done = decode_performance(said(process))
    assert [row.intended_at - begin_at for row in done.rows] == [seconds(0.01)]
    assert done.not_sent_count == 1
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_one_whose_leader_is_gone_stops_in_the_middle() -> None:
    long = Program(
        url="http://127.0.0.1:1",
        messages={0: b""},
        deadline_ns=seconds(1),
        length_ns=seconds(60),
        schedule=[(seconds(60), 0)],
    )
    process = started()
    tell(process, encode_program(long))
    assert said(process) == READY
    tell(process, LENGTH.pack(monotonic_now()))
    process.communicate(timeout=30)
    assert process.returncode == 1
