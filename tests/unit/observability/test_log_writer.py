"""A consumer that stops reading costs lines, never the caller's time."""

from __future__ import annotations

import json
import os
import resource

import pytest

from shedproxy.observability.log_writer import LogWriter
from shedproxy.testing import eventually


@pytest.fixture
def pipe():
    ends = dict(zip(("read", "write"), os.pipe(), strict=True))
    yield ends
    for end in ends.values():
        os.close(end)


def read_lines(fd: int, count: int) -> list[str]:
    """Read until this many lines are here."""
    data = b""
    while data.count(b"\n") < count:
        data += os.read(fd, 65536)
    return data.decode().splitlines()


def test_lines_arrive_in_order(pipe):
    writer = LogWriter(pipe["write"])
    writer.write(["one", "two"])
    writer.write(["three"])
    assert read_lines(pipe["read"], 3) == ["one", "two", "three"]
    writer.close()
    assert writer.dropped == 0


def test_close_writes_what_waits(pipe):
    writer = LogWriter(pipe["write"])
    writer.write(f"line {number}" for number in range(100))
    writer.close()
    assert len(read_lines(pipe["read"], 100)) == 100


def test_a_full_pipe_drops_lines_and_counts_them(pipe):
    writer = LogWriter(pipe["write"], lines_max=50)
    line = "x" * 4096
    offered = 500
    for _ in range(offered):
        writer.write([line])
    assert writer.dropped > 0
    # Several notices may come: the queue was full again while one was on its way.
    os.set_blocking(pipe["read"], False)
    received = bytearray()

    def tally() -> tuple[int, int]:
        """Lines that came, and lines that were said to be dropped."""
        received.extend(os.read(pipe["read"], 65536))
        *complete, _ = received.split(b"\n")
        notices = [json.loads(text) for text in complete if text.startswith(b"{")]
        return len(complete) - len(notices), sum(notice["lines"] for notice in notices)

    eventually(
        lambda: tally() == (offered - writer.dropped, writer.dropped),
        what="every line here or said to be dropped",
    )
    os.close(pipe.pop("read"))
    writer.close()


def test_close_gives_up_on_a_consumer_that_never_reads(pipe):
    writer = LogWriter(pipe["write"], lines_max=1000)
    writer.write("y" * 4096 for _ in range(1000))
    writer.close(timeout_s=0.05)
    writer.write(["late"])
    assert writer.dropped == 1
    os.close(pipe.pop("read"))
    writer.close()


def test_a_consumer_that_is_gone_is_no_error(pipe):
    writer = LogWriter(pipe["write"])
    os.close(pipe.pop("read"))
    writer.write(["one", "two"])
    eventually(lambda: writer.dropped == 2, what="the lines counted as dropped")
    writer.write(["three"])
    writer.close()
    assert writer.dropped == 3


def test_what_is_no_text_is_written_escaped(pipe):
    writer = LogWriter(pipe["write"])
    writer.write(["bad \udcff surrogate"])
    assert read_lines(pipe["read"], 1) == ["bad \\udcff surrogate"]
    writer.close()


def test_a_disk_that_was_full_breaks_no_line_but_the_one_it_cut(tmp_path):
    path = tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    offered = 100
    with path.open("wb") as file:
        writer = LogWriter(file.fileno())
        resource.setrlimit(resource.RLIMIT_FSIZE, (995, hard))
        try:
            writer.write(f'{{"number": {number:04}}}' for number in range(1000, 1000 + offered))
            eventually(lambda: writer.dropped > 0, what="lines counted as dropped")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.write(['{"number": 1}'])
        writer.close()
    *whole, cut, notice, last = path.read_text().splitlines()
    assert [json.loads(line)["number"] for line in whole] == [*range(1000, 1000 + len(whole))]
    assert not cut.endswith("}")
    assert json.loads(notice) == {"event": "log lines dropped", "lines": offered - len(whole)}
    assert json.loads(last) == {"number": 1}
    assert writer.dropped == offered - len(whole)


def test_a_descriptor_that_does_not_block_loses_nothing(pipe):
    """A pipe that a parent, or another child of it, made so."""
    os.set_blocking(pipe["write"], False)
    writer = LogWriter(pipe["write"])
    writer.write("z" * 4096 for _ in range(100))
    assert read_lines(pipe["read"], 100) == ["z" * 4096] * 100
    writer.close()
    assert writer.dropped == 0
