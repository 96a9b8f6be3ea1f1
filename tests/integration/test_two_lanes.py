"""The control listener answers while the data lane is blocked, in whatever way."""

from __future__ import annotations

import os
import signal
import threading
import time

import httpx2
import pytest

from shedproxy.testing import eventually

pytestmark = pytest.mark.integration

READS = ("/livez", "/metrics", "/-/status")

BLOCK_S = 6.0
"""Time enough for ROUNDS, and to see the stall named, on a machine of half the speed."""
ROUNDS = 15

APPLICATION = f'''
import ctypes, math, re, time

def sleep():
    time.sleep({BLOCK_S})

def python_loop():
    give_up_at = time.perf_counter() + {BLOCK_S}
    while time.perf_counter() < give_up_at:
        pass

def match(length):
    """One call into C that holds the interpreter; the time doubles with each letter."""
    began = time.perf_counter()
    re.match("(a+)+$", "a" * length + "b")
    return time.perf_counter() - began

length, took = 16, 0.0
while took < 0.05:
    length += 1
    took = match(length)
length += math.ceil(math.log2({BLOCK_S} / took))

def c_code():
    match(length)

def c_call():
    give_up_at = time.perf_counter() + {BLOCK_S}
    # Again after a signal: the worker is asked where it is.
    while (left_s := give_up_at - time.perf_counter()) > 0:
        ctypes.PyDLL(None).usleep(int(left_s * 1e6))

BLOCKS = {{"/sleep": sleep, "/python_loop": python_loop, "/c_code": c_code, "/c_call": c_call}}

async def app(scope, receive, send):
    if scope["type"] == "http":
        BLOCKS.get(scope["path"], int)()
        await send({{"type": "http.response.start", "status": 200, "headers": []}})
        await send({{"type": "http.response.body", "body": b"ok"}})
'''


def p90(times: list[float]) -> float:
    """Who waits for the block waits in every answer; a pause of the machine is in one or two."""
    return times[int(len(times) * 0.9)]


@pytest.mark.parametrize("way", ["sleep", "python_loop", "c_code", "c_call"])
def test_a_blocked_application_does_not_block_the_control_listener(start, tmp_path, way):
    (tmp_path / "blocking.py").write_text(APPLICATION)
    instance = start("app", "blocking:app", SHEDPROXY_CONTROL__LIVEZ_BOUND="1s")
    url = instance.url
    assert httpx2.get(url + "/free", timeout=10, trust_env=False).text == "ok"
    answers: list[int] = []

    def ask() -> None:
        answer = httpx2.get(f"{url}/{way}", timeout=60, trust_env=False)
        answers.append(answer.status_code)

    client = threading.Thread(target=ask)
    client.start()
    eventually(lambda: instance.status["workers"][0]["heartbeat_age_s"] > 0.5, within_s=60)
    times = instance.answer_times(READS, rounds=ROUNDS)
    print(f"blocked by {way}: p90 {p90(times) * 1e3:.1f} ms of {len(times)} answers")
    # What is promised; it is thirty times what a quiet machine shows.
    assert p90(times) < 0.1
    assert not answers, "it was blocked all the time"
    eventually(lambda: instance.http.get("/livez").status_code == 503, within_s=60)
    stall = instance.status["workers"][0]["last_stall"]
    client.join(60)
    assert answers == [200]
    # Named while it lasts, whoever holds the interpreter.
    named = "match" if way == "c_code" else way
    assert any(frame.startswith(f"{named} (") for frame in stall["stack"])
    assert any("blocking.py:" in frame for frame in stall["stack"])
    metrics = instance.http.get("/metrics").text
    assert "shedproxy_worker_stall_time_seconds_total" in metrics
    assert f'shedproxy_worker_stalls_total{{shedproxy_place="blocking:{named}"}} 1' in metrics
    eventually(lambda: instance.http.get("/livez").status_code == 200)
    eventually(lambda: instance.cell["admitted"] == 2)


def test_a_stopped_worker_fails_liveness_beyond_its_bound_and_recovers(start):
    instance = start("run", "http://127.0.0.1:9", SHEDPROXY_CONTROL__LIVEZ_BOUND="1500ms")
    pid = instance.worker_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        stopped_at = time.perf_counter()
        assert instance.http.get("/livez").status_code == 200
        times = instance.answer_times(READS, rounds=ROUNDS)
        assert p90(times) < 0.1
        eventually(lambda: instance.http.get("/livez").status_code == 503, within_s=60)
        assert time.perf_counter() - stopped_at > 1.0
        assert "its loop is blocked" in instance.http.get("/livez?verbose").text
        assert instance.http.get("/readyz").status_code == 503
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: instance.http.get("/livez").status_code == 200)
    assert instance.worker_pid() == pid
    assert instance.status["workers"][0]["restarts"] == 0


def test_a_mode_is_ordered_while_the_worker_is_stopped_and_taken_when_it_goes_on(start):
    instance = start("run", "http://127.0.0.1:9")
    pid = instance.worker_pid()
    os.kill(pid, signal.SIGSTOP)
    try:
        assert instance.post("/-/mode", {"mode": "off", "for": "5m"}).is_success
        assert instance.status["mode"] == "off"
        answer = instance.post("/-/reload").json()
        assert (answer["ok"], answer["workers_applied"]) == (True, 0)
    finally:
        os.kill(pid, signal.SIGCONT)
    eventually(lambda: instance.status["workers"][0]["mode"] == "off")
    eventually(lambda: instance.status["workers"][0]["revision"] == 2)


def test_a_stopped_worker_does_not_keep_the_service_from_ending(start):
    instance = start("run", "http://127.0.0.1:9", SHEDPROXY_SERVER__DRAIN__GRACE="200ms")
    pid = instance.worker_pid()
    os.kill(pid, signal.SIGSTOP)
    assert instance.end() == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_workers_end_when_their_supervisor_is_killed(start):
    instance = start("run", "http://127.0.0.1:9", SHEDPROXY_SERVER__DRAIN__GRACE="200ms")
    pid = instance.worker_pid()
    instance.process.kill()
    instance.process.wait()

    def is_gone() -> bool:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                return stat.read().rpartition(")")[2].split()[0] == "Z"
        except FileNotFoundError:
            return True

    eventually(is_gone)
