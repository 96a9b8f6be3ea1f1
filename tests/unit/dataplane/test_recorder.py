"""A bounded file that says how it ended, written by a thread that delays nobody."""

from __future__ import annotations

import json
import os
import stat

import pytest

from shedproxy import __version__
from shedproxy.core import Instant, Outcome, RequestInfo
from shedproxy.dataplane.recorder import (
    Recorder,
    Stop,
    check_record_file,
    numbered,
    recorder_of_process,
)
from shedproxy.errors import StartupError
from shedproxy.simulator.replay import verify
from shedproxy.testing import a_policy, eventually
from shedproxy.workload.trace import TraceReader

REQUEST = RequestInfo()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "trace.jsonl"


def play(shedder, *, count: int = 1, start: int = 0) -> None:
    """So many requests, 1 us each."""
    for index in range(start, start + count):
        permit = shedder.arrive(REQUEST, now=Instant(index * 1000))
        shedder.release(permit, Outcome.SUCCESS, now=Instant(index * 1000 + 500))


def lines_of(file) -> list[str]:
    return file.read_text().splitlines(keepends=True)


def test_what_is_recorded_can_be_replayed(file):
    recorder = Recorder(str(file), worker=1, workers=3)
    shedder = recorder.make_shedder(a_policy(limit=2), now=Instant(0))
    play(shedder, count=3)
    recorder.flush()
    play(shedder, count=3, start=3)
    recorder.close()
    reader = TraceReader(lines_of(file))
    header = reader.header
    assert (header.worker, header.workers, header.version) == (1, 3, __version__)
    assert header.policy == a_policy(limit=2)
    verification = verify(reader)
    assert (verification.arrivals, verification.why) == (6, "closed")
    assert verification.difference is None


def test_lines_are_on_the_disk_soon_after_a_flush(file):
    recorder = Recorder(str(file))
    shedder = recorder.make_shedder(a_policy(), now=Instant(0))
    play(shedder)
    recorder.flush()
    eventually(lambda: file.exists() and len(lines_of(file)) == 4, what="four lines")
    recorder.flush()
    recorder.close()
    assert len(lines_of(file)) == 5


def test_the_file_is_for_its_owner_and_the_former_one_is_kept(file):
    file.write_text("former\n")
    recorder = Recorder(str(file))
    recorder.make_shedder(a_policy(), now=Instant(0))
    recorder.close()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.with_name("trace.jsonl.old").read_text() == "former\n"


def test_it_ends_at_its_bound_of_records_and_says_so_once(file):
    stops: list[Stop] = []
    recorder = Recorder(str(file), records_max=5, on_stop=stops.append)
    shedder = recorder.make_shedder(a_policy(), now=Instant(0))
    play(shedder, count=20)
    recorder.flush()
    recorder.close()
    _, *records, end = lines_of(file)
    assert len(records) == 5
    assert json.loads(end) == ["end", 2000, "5 records are enough"]
    assert stops == [
        Stop(str(file), "5 records are enough", 5, file.stat().st_size - len(end)),
    ]
    assert verify(TraceReader(lines_of(file))).difference is None


@pytest.mark.parametrize("bytes_max", [1500, 1540, 1580, 3000])
def test_it_ends_at_its_bound_of_bytes(file, bytes_max):
    stops: list[Stop] = []
    recorder = Recorder(str(file), bytes_max=bytes_max, on_stop=stops.append)
    play(recorder.make_shedder(a_policy(), now=Instant(0)), count=100)
    recorder.close()
    assert [stop.why for stop in stops] == [f"{bytes_max} bytes are enough"]
    assert bytes_max - 150 < file.stat().st_size <= bytes_max
    assert verify(TraceReader(lines_of(file))).why == f"{bytes_max} bytes are enough"


def test_after_the_end_the_shedder_goes_on(file):
    recorder = Recorder(str(file), records_max=1)
    shedder = recorder.make_shedder(a_policy(limit=1), now=Instant(0))
    play(shedder, count=3)
    recorder.close()
    play(shedder, count=3, start=3)
    assert shedder.stats().cells[0].in_flight == 0
    recorder.close()


def test_a_file_that_cannot_be_written_is_said_and_stops_nothing(tmp_path):
    stops: list[Stop] = []
    recorder = Recorder(str(tmp_path / "gone" / "trace.jsonl"), on_stop=stops.append)
    shedder = recorder.make_shedder(a_policy(), now=Instant(0))

    def is_told() -> bool:
        recorder.flush()
        return bool(stops)

    eventually(is_told, what="the failure")
    play(shedder)
    recorder.close()
    assert [stop.why for stop in stops] == ["cannot write: No such file or directory"]


def test_a_failure_that_is_seen_only_at_the_end_is_said_too(tmp_path):
    stops: list[Stop] = []
    recorder = Recorder(str(tmp_path / "gone" / "trace.jsonl"), on_stop=stops.append)
    recorder.make_shedder(a_policy(), now=Instant(0))
    recorder.close()
    assert [stop.why for stop in stops] == ["cannot write: No such file or directory"]


def test_a_full_disk_ends_the_recording():
    stops: list[Stop] = []
    recorder = Recorder("/dev/full", on_stop=stops.append)
    recorder.make_shedder(a_policy(), now=Instant(0))
    recorder.flush()
    recorder.close()
    assert [stop.why for stop in stops] == ["cannot write: No space left on device"]


@pytest.mark.parametrize(
    ("file", "name"),
    [("t.jsonl", "t.3.jsonl"), ("/a.b/t", "/a.b/t.3"), ("d/t.tar.gz", "d/t.tar.3.gz")],
)
def test_numbers_go_before_the_suffix(file, name):
    assert numbered(file, 3) == name


def test_processes_and_loops_have_files_of_their_own(tmp_path, caplog):
    pid = os.getpid()
    assert recorder_of_process("t.jsonl", 1).file == f"t.{pid}.jsonl"
    assert recorder_of_process("t.jsonl", 2).file == f"t.{pid}-2.jsonl"
    recorder = recorder_of_process(str(tmp_path / "gone" / "t.jsonl"), 1)
    recorder.make_shedder(a_policy(), now=Instant(0))
    recorder.close()
    assert "t." in caplog.text
    assert "ended: cannot write: No such file or directory" in caplog.text


def test_what_can_never_be_written_is_refused_at_the_start(tmp_path, file):
    check_record_file(str(file))
    with pytest.raises(StartupError, match="no folder"):
        check_record_file(str(tmp_path / "gone" / "trace.jsonl"))
    with pytest.raises(StartupError, match="it is a folder"):
        check_record_file(str(tmp_path))
